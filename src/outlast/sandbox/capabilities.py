"""Capabilities (capabilities(7)): what root may do beyond owning its files."""

import contextlib
import os
import struct

from outlast.sandbox import kernel

_CAPSET = {"x86_64": 126, "aarch64": 91}
_VERSION_3 = 0x20080522
_ROOT_IS_NOBODY_SPECIAL = 0b1110_1111
"""SECBIT_NOROOT, _NO_SETUID_FIXUP, _NO_CAP_AMBIENT_RAISE, and all locks: otherwise root has all capabilities again as
soon as it runs a program."""


def drop() -> None:
    """Gives up all of them for good, for this process and whatever program it runs. Raises OSError.

    What is left to root is then what any user has: files of its own, and what others may do with files.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    # EPERM: without capabilities there is nothing that root could get back; no_new_privs is for the rest.
    with contextlib.suppress(PermissionError):
        kernel.prctl(kernel.PR_SET_SECUREBITS, _ROOT_IS_NOBODY_SPECIAL)
    # Not in kernels before 4.3.
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _VERSION_3, 0)
    kernel.syscall(_CAPSET[os.uname().machine], header, bytes(24))
