"""The memory limit of a Python worker that the kernel enforces: beyond RLIMIT_AS there is a MemoryError.

It counts address space, used or not. So it leaves room for what is reserved and hardly touched: stacks of threads (8
MiB each, and there may be some 70), heaps of the C library, the code of libraries, and the buffers that these allocate.
"""

import contextlib
import ctypes
import functools
import os
import resource
import sys

from outlast.runtime import memory

ROOM_MB = 1024
"""Added to twice the memory that may be resident."""
RESERVE_MB = 16
"""Kept for reporting a MemoryError: see `outlast.runtime.memory`."""
HEAPS = 2
"""Of the C library, which would make up to eight for each processor and reserve 64 MiB for each, although only one
thread at a time runs Python."""

_M_ARENA_MAX = -8
_libc = ctypes.CDLL(None)


def confine(memory_mb: int) -> None:
    """Limits this process, relative to what it has now. Call it before any code of the function runs."""
    if not memory_mb or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        # glibc: mallopt(3). Other libraries have no such heaps.
        _libc.mallopt(_M_ARENA_MAX, HEAPS)
    most = _pages() * resource.getpagesize() + (2 * memory_mb + ROOM_MB) * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > most:
        resource.setrlimit(resource.RLIMIT_AS, (most - RESERVE_MB * 2**20, most))
        memory.use_reserve = functools.partial(resource.setrlimit, resource.RLIMIT_AS, (most, most))


def _pages() -> int:
    """All that is addressed. Without a file object: each worker would have to make one."""
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(descriptor, 128).split()[0])
    finally:
        os.close(descriptor)
