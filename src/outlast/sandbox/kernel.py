"""System calls for which Python has no function."""

import ctypes
import errno
import os
import struct

from outlast.sandbox import syscalls

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_MACHINE = os.uname().machine

PR_SET_DUMPABLE = 4
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period: sched_setattr(2)."""
_RESET_ON_FORK = 1


def syscall(name: str, *arguments: int | bytes) -> int:
    """Calls syscall(2). Integers are passed as machine words. Raises OSError."""
    number = syscalls.number(name, _MACHINE)
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of {name}(2) on {_MACHINE} is not known")
    passed = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *passed))


def prctl(option: int, *arguments: int) -> int:
    """Calls prctl(2). Raises OSError."""
    passed = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc.prctl(ctypes.c_int(option), *map(ctypes.c_ulong, passed)))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def forbid_new_privileges() -> None:
    """From now on, programs gain nothing by being setuid or setgid, or by file capabilities."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def adopt_orphans() -> None:
    """Descendants of this process stay its descendants, even if the process between them ends."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(dumpable: bool) -> None:
    """Sets whether other processes of the user may inspect this one, and whether it leaves core dumps.

    Running another program makes a process dumpable again.
    """
    prctl(PR_SET_DUMPABLE, int(dumpable))


SHORTEST_SLICE = 100_000
"""Nanoseconds; the least that Linux takes."""


def ask_for_slices_of(ns: int) -> None:
    """How long this thread, but nothing that it starts, wants a CPU at a time (sched_setattr(2)). Raises OSError.

    It gets no more and no less of it, but sooner: Linux, from 6.12 on, interrupts whoever wants it for longer. Older
    ones accept this and do nothing.
    """
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = (_SCHED_ATTR.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, ns, 0, 0)
    syscall("sched_setattr", 0, _SCHED_ATTR.pack(*attributes), 0)
