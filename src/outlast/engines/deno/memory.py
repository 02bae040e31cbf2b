"""The memory limits of a Deno worker that V8 and the kernel enforce.

V8 ends the process when its heap is full. What is not in the heap, above all typed arrays, counts only towards
RLIMIT_DATA: private writable memory, touched or not. Deno has half a gigabyte of that from the beginning, most of it
reserved for machine code, so the limit starts from there. Every Web Worker reserves as much again: a function with Web
Workers gets no RLIMIT_DATA.
"""

from outlast.core.limits import Limits

ROOM_MB = 128
"""Added to what a worker may have, for the stacks of threads, which count in full. Deno has 32 for files and the like,
2 MiB each."""


def v8_flags(limits: Limits) -> list[str]:
    """For the command line. The heap is only part of what is resident, so the node's limit normally comes first."""
    return [f"--v8-flags=--max-old-space-size={limits.memory_mb}"] if limits.memory_mb else []


def data_bytes(limits: Limits, baseline: int | None) -> int | None:
    """For RLIMIT_DATA; None: no limit. ``baseline``: what Deno has of its own, see `outlast.engines.deno.rehearsal`."""
    if not limits.memory_mb or baseline is None:
        return None
    return baseline + (limits.memory_mb + ROOM_MB) * 2**20
