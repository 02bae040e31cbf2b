"""The start of a worker, played through once for all of them.

V8 compiles what it loads anew in every process, unless it finds it in Deno's cache: half of the start of a worker. The
workers of functions may read that cache, not write it, so that no function can plant code there that another one runs.
What every worker loads is put there before the first one.
"""

import asyncio
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from outlast.core.errors import OutlastError
from outlast.engines.deno.prepare import DENO, GUEST, Run
from outlast.engines.processes import Command

SCRIPT = GUEST / "rehearsal.ts"
PATIENCE_S = 30.0


class Learnt(NamedTuple):
    baseline: int | None
    """Bytes of data (proc(5): VmData) that the installed Deno has of its own; None where the kernel does not tell."""
    keeps_code: bool
    """Whether there is compiled code for workers to find. To look for it in vain costs more than to compile."""


NOTHING = Learnt(None, False)


class Rehearsal:
    """Takes place when it is first asked for."""

    def __init__(self, run: Run, env: Mapping[str, str]) -> None:
        """``env``: that of Deno; names the cache (``DENO_DIR``)."""
        self._run = run
        self._env = env
        self._under_way: asyncio.Task[Learnt] | None = None

    async def learnt(self) -> Learnt:
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._rehearse())
        return await asyncio.shield(self._under_way)

    async def _rehearse(self) -> Learnt:
        arguments = ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--allow-all", str(SCRIPT)]
        with tempfile.TemporaryDirectory(prefix="outlast-") as folder:
            # A path of its own might be too long for a unix socket.
            env = {**self._env, "OUTLAST_WORKER_DIR": "."}
            try:
                async with asyncio.timeout(PATIENCE_S):
                    result = await self._run(Command([DENO, *arguments], env, Path(folder)))
            except (OutlastError, TimeoutError):
                return NOTHING
        found = re.search(rb"^VmData:\s*(\d+) kB$", result.out, re.MULTILINE)
        # It fails where it finds no such cache.
        return Learnt(int(found[1]) * 1024 if found is not None else None, keeps_code=result.code == 0)
