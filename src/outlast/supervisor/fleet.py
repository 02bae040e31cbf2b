"""All functions of a project: which pool serves each, and what a change of files or settings means for them."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from outlast.config.settings import Project
from outlast.core.outcome import EndReason
from outlast.supervisor.pool import Pool
from outlast.supervisor.resources import Resources
from outlast.supervisor.snapshot import FunctionSnapshot


class Fleet:
    def __init__(self, project: Project, resources: Resources) -> None:
        self._project = project
        self._resources = resources
        self._leaving: set[Pool] = set()
        """Pools of functions that are no longer served, whose workers finish what they have."""
        self._pools = {name: Pool(function, project.policy, resources) for name, function in project.functions.items()}
        self.services: Mapping[str, Pool] = MappingProxyType(self._pools)
        """The functions by name, as they are now."""

    async def prepare(self) -> None:
        """Prepares all functions, two at a time. A failure is logged; the function's next request tries again."""
        two = asyncio.Semaphore(2)

        async def prepare(pool: Pool) -> None:
            async with two:
                await asyncio.wait([pool.prepare()])

        await asyncio.gather(*map(prepare, self._pools.values()))

    def apply(self, project: Project, changed: Iterable[Path], *, at_once: bool) -> None:
        """Serves what the settings say now. Functions that no changed setting or file concerns are left alone.

        ``changed``: paths, both as they were named and with links resolved. ``at_once``: the very next request meets
        the change, even if a worker with the old state is just coming up.
        """
        other_policy = project.policy is not self._project.policy
        self._project = project
        paths = set(changed)
        for name in [*self._pools]:
            if name not in project.functions or other_policy:
                self._dismiss(self._pools.pop(name))
        for name, function in project.functions.items():
            pool = self._pools.get(name)
            if pool is None:
                pool = self._pools[name] = Pool(function, project.policy, self._resources)
                pool.prepare()
            elif pool.wanted != function or any(pool.is_concerned(path) for path in paths):
                pool.reload(function, at_once=at_once)

    @property
    def modules(self) -> set[Path]:
        """The local files that the functions import, as far as that is known."""
        return {module for pool in self._pools.values() for module in pool.modules}

    def snapshot(self) -> list[FunctionSnapshot]:
        """Each function once: those that are served, and those that no longer are but still have workers."""
        found: dict[str, FunctionSnapshot] = {}
        for pool in self._all:
            part = pool.snapshot()
            found[part.name] = found[part.name].with_workers_of(part) if part.name in found else part
        return [*found.values()]

    def drain(self, execution_id: str) -> bool | None:
        """Has a worker finish what it has and end. Returns whether it will; None if there is no such worker.

        A worker that is coming up for waiting requests is left alone.
        """
        for pool in self._all:
            if found := pool.drain(execution_id):
                return found[execution_id]
        return None

    async def catch_up(self, timeout_s: float) -> list[str]:
        """Waits until everything that workers have said so far is known: what they printed, which tasks they have.

        Returns the execution ids of those that did not answer within ``timeout_s``: their event loops are blocked.
        """
        waits = {asyncio.ensure_future(worker.catch_up()): worker for pool in self._all for worker in pool.running}
        if not waits:
            return []
        _, late = await asyncio.wait(waits, timeout=timeout_s)
        for wait in late:
            wait.cancel()
        return [waits[wait].execution_id for wait in late]

    @property
    def _all(self) -> list[Pool]:
        """Those included that are leaving."""
        return [*self._pools.values(), *self._leaving]

    def _dismiss(self, pool: Pool) -> None:
        self._leaving.add(pool)
        pool.close(EndReason.RELOAD)
        asyncio.ensure_future(pool.wait_ended()).add_done_callback(lambda _: self._leaving.discard(pool))

    async def close(self, grace_s: float, hurry: asyncio.Future[int]) -> None:
        """Tells every worker to end, waits for their requests and tasks, then kills what is left.

        It waits at most ``grace_s``, or until ``hurry`` is done.
        """
        pools = self._all
        for pool in pools:
            pool.close(EndReason.TERMINATION)
        ended = asyncio.create_task(_all_ended(pools))
        first: set[asyncio.Future[Any]] = {ended, hurry}
        await asyncio.wait(first, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        for pool in pools:
            pool.kill(EndReason.TERMINATION)
        await ended


async def _all_ended(pools: Iterable[Pool]) -> None:
    for pool in pools:
        await pool.wait_ended()
