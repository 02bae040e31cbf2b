"""Plays through the start of a worker once, so that all workers find the compiled code in Deno's cache.

V8 compiles what it loads in every process anew, unless Deno's cache has the result: that would be a third of a
worker's start. Workers may read that cache but not write it, so that no function can plant code there that another one
runs. So the code of what every worker loads is put there before the first worker.
"""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from outlast.core.errors import OutlastError
from outlast.engines.deno.shipped import DENO, GUEST
from outlast.engines.processes import Command, Run

SCRIPT = GUEST / "rehearsal.ts"
PATIENCE_S = 30.0


class Learnt(NamedTuple):
    baseline: int | None
    """Bytes of data (proc(5): VmData) that Deno itself has; None if the kernel does not say."""
    keeps_code: bool
    """Whether there is compiled code for workers to find: looking for it in vain costs more than compiling."""


NOTHING = Learnt(None, False)


class Rehearsal:
    """Takes place when its result is first asked for."""

    def __init__(self, run: Run, env: Mapping[str, str]) -> None:
        """``env``: Deno's environment; names the cache (``DENO_DIR``)."""
        self._run = run
        self._env = env
        self._under_way: asyncio.Task[Learnt] | None = None
        self._kept_open: Sequence[object] = ()

    async def learnt(self) -> Learnt:
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._rehearse())
        try:
            return await asyncio.shield(self._under_way)
        except (OSError, OutlastError):
            # It could not begin, for want of files, processes or disk. There may be some when it is asked for again.
            self._under_way = None
            return NOTHING

    async def _rehearse(self) -> Learnt:
        arguments = ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--allow-all", str(SCRIPT)]
        with tempfile.TemporaryDirectory(prefix="outlast-") as folder:
            # A path of its own might be too long for a unix socket.
            env = {**self._env, "OUTLAST_WORKER_DIR": "."}
            try:
                async with asyncio.timeout(PATIENCE_S):
                    result = await self._run(Command([DENO, *arguments], env, Path(folder)))
            except TimeoutError:
                return NOTHING
        found = re.search(rb"^VmData:\s*(\d+) kB$", result.out, re.MULTILINE)
        # It fails if it finds no such cache.
        keeps_code = result.code == 0
        if keeps_code:
            self._kept_open = await asyncio.to_thread(_keep_open, Path(self._env["DENO_DIR"]))
        return Learnt(int(found[1]) * 1024 if found is not None else None, keeps_code)


def _keep_open(cache: Path) -> Sequence[object]:
    """Opens the database of compiled code. Returns what holds it open.

    The last one to close it removes two files (its log and the index of that) without which those who may not write
    cannot open it: all workers. A Deno that prepares a function closes it when it is done, so the node does not.
    """
    # Not every node has a TypeScript function.
    import sqlite3

    opened = []
    for file in cache.glob("v8_code_cache_v*"):
        if file.name.endswith(("-wal", "-shm")):
            continue
        with contextlib.suppress(sqlite3.Error):
            connection = sqlite3.connect(file.absolute().as_uri() + "?mode=rw", uri=True, check_same_thread=False)
            opened.append(connection)
            connection.execute("select count(*) from sqlite_master").fetchone()
    return opened
