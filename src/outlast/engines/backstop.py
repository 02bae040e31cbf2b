"""The kernel's own limits on a worker, should the node be too slow; and how to tell afterwards that one was reached.

Normally the node ends a worker: it looks every few milliseconds, and warns the function first. The kernel's limits are
higher, so that a function never meets them while the node keeps up.
"""

import math
import re
import signal

from outlast.core.limits import MOST_CPUS_AT_ONCE, Limits
from outlast.core.outcome import EndReason
from outlast.engines.processes import Exit
from outlast.sandbox import system

_BY_SIGNAL = re.compile(
    r"^(?:# )?Fatal \w+ out of memory"  # V8; below it is a trace of the stack
    r"|^memory allocation of \d+ bytes failed"  # Rust's standard library, in Deno and in Python packages
    r"|std::bad_alloc",  # C++
    re.MULTILINE,
)
_BY_EXIT = re.compile(r"^[\w.]*MemoryError\b")
"""Python; libraries have classes of their own."""
_FATAL = (signal.SIGTRAP, signal.SIGABRT, signal.SIGILL)


def cpu_s(limits: Limits) -> int | None:
    """For RLIMIT_CPU, which counts from the start of the process: the limit itself counts from when it is ready."""
    if not limits.cpu_hard_ms or not limits.boot_timeout_ms:
        return None
    return math.ceil(limits.cpu_hard_ms / 1000) + math.ceil(limits.boot_timeout_ms * MOST_CPUS_AT_ONCE / 1000)


def rlimits(limits: Limits, *, data: int | None = None) -> dict[str, int]:
    """Those of a worker, for `outlast.sandbox.walls.Walls`. ``data``: bytes for RLIMIT_DATA; None: no limit."""
    own = {"CPU": cpu_s(limits), "DATA": data}
    return {**system.RLIMITS, **{name: value for name, value in own.items() if value is not None}}


def limit_reached(used: Exit, errors: str, limits: Limits) -> EndReason | None:
    """The limit that ended a process, judging by how it ended and by the last lines of its error output."""
    if used.code is None:
        return None
    if used.code >= 0:
        last = errors.rstrip().rpartition("\n")[2]
        return EndReason.MEMORY if used.code and _BY_EXIT.match(last) else None
    if used.code == -signal.SIGXCPU:
        return EndReason.CPU
    if used.code == -signal.SIGKILL:
        # A process that ignores SIGXCPU is killed a second later. Nothing is known of other kills.
        most_s = cpu_s(limits)
        return EndReason.CPU if most_s is not None and (used.cpu_ms or 0) >= most_s * 1000 else None
    if -used.code in _FATAL and _BY_SIGNAL.search(errors):
        return EndReason.MEMORY
    return None
