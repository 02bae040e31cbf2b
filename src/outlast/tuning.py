"""How the node's own process is tuned: its limit on open files, its turns on a CPU, its garbage collector."""

import contextlib
import gc
import os
import resource
import sys

from outlast.sandbox import kernel

MAX_OPEN_FILES = 10_240


def allow_open_files() -> int:
    """Raises the limit on open files: a request needs two, and the usual limit (1024, macOS: 256) is low.

    Returns the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            # macOS refuses more than its maximum for any process; then the limit stays as it is.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def interrupt_what_computes() -> None:
    """Lets the node have a CPU as soon as there is something to do, before whatever computes there.

    Its part of a request takes a few tenths of a millisecond. Otherwise Linux may let it wait for several first, even
    if another CPU is free. Not for workers, which would interrupt the node: that costs a tenth of the throughput.
    """
    if sys.platform == "linux" and not os.sched_getscheduler(0):
        with contextlib.suppress(OSError):
            kernel.ask_for_slices_of(kernel.SHORTEST_SLICE)


def spare_the_collector() -> None:
    """Has the garbage collector run less often: requests leave no reference cycles behind.

    What has been loaded by now is exempt altogether, since next to nothing of it is garbage.
    """
    gc.freeze()
    gc.set_threshold(5_000)
