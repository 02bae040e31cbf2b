"""Capabilities (capabilities(7)): what root may do beyond owning its files."""

import contextlib
import errno
import os
import struct

from outlast.sandbox import kernel

_CAPSET = {"x86_64": 126, "aarch64": 91}
_VERSION_3 = 0x20080522


def drop() -> None:
    """Gives up all of them for good, for this process and whatever program it runs. Raises OSError.

    What is left to root is then what any user has: files of its own, and what others may do with files.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    _drop_bounding_set()
    # Not in kernels before 4.3.
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _VERSION_3, 0)
    kernel.syscall(_CAPSET[os.uname().machine], header, bytes(24))


def _drop_bounding_set() -> None:
    """Without which root would have them all again as soon as it runs a program."""
    for capability in range(64):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EPERM:
                # Only who has capabilities may drop them from there; no_new_privs keeps the others from any.
                return
            # EINVAL: past the last one that this kernel knows.
            return
