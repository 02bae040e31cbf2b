"""The memory that a worker of Deno may have, as V8 and the kernel see to it.

V8 ends the process when its heap is full. What is not in the heap, typed arrays above all, counts for RLIMIT_DATA
alone: private memory that can be written, touched or not. Deno has half a gigabyte of that from the beginning, most of
it set aside for machine code, so that the limit begins there. Every Web Worker sets aside as much again: a function
that has any gets no RLIMIT_DATA.
"""

from outlast.core.limits import Limits

ROOM_MB = 128
"""Beyond what a worker may have: stacks of threads, which count as a whole. Deno has 32 for files and the like, 2 MiB
each."""


def v8_flags(limits: Limits) -> list[str]:
    """For the command line. The heap is a part of what is resident: the node, unless it is too slow, is the first."""
    return [f"--v8-flags=--max-old-space-size={limits.memory_mb}"] if limits.memory_mb else []


def data_bytes(limits: Limits, baseline: int | None) -> int | None:
    """For RLIMIT_DATA; None: no limit. ``baseline``: what Deno has of its own, see `outlast.engines.deno.rehearsal`."""
    if not limits.memory_mb or baseline is None:
        return None
    return baseline + (limits.memory_mb + ROOM_MB) * 2**20
