"""Capabilities (capabilities(7)): what root may do beyond owning its files."""

import contextlib
import os
import struct

from outlast.sandbox import kernel

_VERSION_3 = 0x20080522
_ROOT_IS_NOBODY_SPECIAL = 0b1110_1111
"""SECBIT_NOROOT, _NO_SETUID_FIXUP, _NO_CAP_AMBIENT_RAISE, and all locks: otherwise root has all capabilities again as
soon as it runs a program."""


def drop() -> None:
    """Gives up all capabilities for good, for this process and every program it runs. Raises OSError.

    Root then has the rights of any other user: to its own files, and to what everybody may do with others.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    # EPERM: a process without capabilities cannot get any back as root; no_new_privs covers the rest.
    with contextlib.suppress(PermissionError):
        kernel.prctl(kernel.PR_SET_SECUREBITS, _ROOT_IS_NOBODY_SPECIAL)
    # Not in kernels before 4.3.
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _VERSION_3, 0)
    kernel.syscall("capset", header, bytes(24))
