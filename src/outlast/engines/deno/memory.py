"""The memory that a worker of Deno may have, as V8 and the kernel see to it.

V8 ends the process when its heap is full. What is not in the heap, typed arrays above all, counts for RLIMIT_DATA
alone: private memory that can be written, touched or not. Deno has half a gigabyte of that from the beginning, most of
it set aside for machine code, so that the limit begins there. Every Web Worker sets aside as much again: a function
that has any gets no RLIMIT_DATA.
"""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from outlast.core.errors import OutlastError
from outlast.core.limits import Limits
from outlast.engines.deno.prepare import DENO, Run
from outlast.engines.processes import Command

ROOM_MB = 128
"""Beyond what a worker may have: stacks of threads, which count as a whole. Deno has 32 for files and the like, 2 MiB
each."""

_TELL = 'console.log(Deno.readTextFileSync("/proc/self/status"))'


def v8_flags(limits: Limits) -> list[str]:
    """For the command line. The heap is a part of what is resident: the node, unless it is too slow, is the first."""
    return [f"--v8-flags=--max-old-space-size={limits.memory_mb}"] if limits.memory_mb else []


def data_bytes(limits: Limits, baseline: int | None) -> int | None:
    """For RLIMIT_DATA; None: no limit."""
    if not limits.memory_mb or baseline is None:
        return None
    return baseline + (limits.memory_mb + ROOM_MB) * 2**20


class Baseline:
    """What the installed Deno has of its own: measured once, when it is first asked for."""

    def __init__(self, run: Run, env: Mapping[str, str]) -> None:
        self._run = run
        self._env = env
        self._measured: asyncio.Task[int | None] | None = None

    async def bytes(self) -> int | None:
        """None where the kernel does not tell."""
        if self._measured is None:
            self._measured = asyncio.create_task(self._measure())
        return await asyncio.shield(self._measured)

    async def _measure(self) -> int | None:
        if sys.platform != "linux":
            return None
        try:
            result = await self._run(Command([DENO, "eval", "--quiet", _TELL], self._env, Path("/")))
        except OutlastError:
            return None
        found = re.search(rb"^VmData:\s*(\d+) kB$", result.out, re.MULTILINE)
        return int(found[1]) * 1024 if found is not None else None
