"""The worker processes of one function: starts them, keeps the next one on standby, ends those that nobody needs."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple, Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import ids
from outlast.core.lifecycle import State
from outlast.core.outcome import EndReason
from outlast.core.policy import Policy
from outlast.supervisor import worker as workers
from outlast.supervisor.brake import Brake
from outlast.supervisor.change import Change
from outlast.supervisor.ending import End
from outlast.supervisor.preparation import Preparation
from outlast.supervisor.resources import Program, Resources
from outlast.supervisor.worker import Worker
from outlast.telemetry.quota import Quota

STANDBY_AFTER_S = 0.25
"""From a worker being ready to the start of the next standby, which should not compete with the first requests."""
ONESHOT_STANDBY_AFTER_S = 0.02
"""The same for `oneshot`, where the very next request needs the standby: time to answer a short request."""
STANDBY_KEPT_S = 60.0
"""How long a function that is not called any more keeps its standby when it has no other worker."""

_random = SystemRandom()


class Owner(workers.Owner, Protocol):
    """What the crew reports to its pool, besides what each worker reports."""

    def start_failed(self, generation: int) -> None:
        """A worker was wanted, but the function could not be prepared."""

    def start_possible(self) -> None:
        """The brake is off: workers may be started again."""

    def turned_over(self) -> None:
        """The files have changed: workers started before are outdated."""

    def unused_s(self) -> float:
        """How long nobody has needed the function; 0 while somebody does."""

    def one_less(self) -> None:
        """Nothing is left of a worker, or of a failed start."""


class _Start(NamedTuple):
    """A start that waits for the program to be prepared: the function as it was when the worker was asked for."""

    function: FunctionSettings
    generation: int


class Crew:
    def __init__(self, function: FunctionSettings, policy: Policy, resources: Resources, owner: Owner) -> None:
        self.function = function
        """By the state of its files when the present generation began."""
        self.generation = 0
        self.closing: EndReason | None = None
        """Why no more requests will come; None while they may."""
        self._policy = policy
        self._resources = resources
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._alive: dict[Worker, asyncio.Task[None]] = {}
        """Each with the task that runs it, until nothing is left of it."""
        self._starts: list[_Start] = []
        """Starts whose program is not prepared yet."""
        self.brake = Brake(function.name, resources.log, owner.start_possible)
        self._quota = Quota(function.name, function.log, resources.log)
        self._change = Change(self._is_bringing_up, self._turn_over)
        self._preparation = Preparation(function, resources, self._change.start_ended)
        self._modules_before: frozenset[Path] = frozenset()
        self._outdated: dict[int, Preparation] = {}
        """Under way when their generation ended, by its number."""
        self._standby_kept: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there are no workers, and none about to be started."""
        return not (self._alive or self._starts)

    def __iter__(self) -> Iterator[Worker]:
        """The workers that have a process; what is left of the others is being cleaned up."""
        return (worker for worker in self._alive if worker.state is not State.EXITED)

    def starting(self) -> int:
        """How many workers are coming up, except those of older generations, which end when they are ready."""
        return sum(start.generation == self.generation for start in self._starts) + sum(
            worker.is_coming_up and worker.generation == self.generation for worker in self._alive
        )

    def ending(self) -> int:
        """How many have been retired but not exited."""
        return sum(worker.state in (State.RETIRED, State.UNLOADING) for worker in self._alive)

    def knows_ready(self) -> bool:
        """Whether one of them has become ready."""
        return any(worker.was_ready for worker in self._alive)

    # Starts.

    def prepare(self) -> asyncio.Task[Program]:
        """Fetches what the function needs, ahead of the first request. Done once for each state of its files."""
        return self._preparation.begin()

    def start(self) -> None:
        """Brings up one more worker to take requests."""
        standby = next(self._standbys(), None)
        if standby is not None:
            standby.activate()
            return
        start = _Start(self.function, self.generation)
        self._starts.append(start)
        self.prepare().add_done_callback(functools.partial(self._bring_up, start))

    def _bring_up(self, start: _Start, prepared: asyncio.Task[Program]) -> None:
        if start not in self._starts:
            return
        self._starts.remove(start)
        if prepared.cancelled() or prepared.exception() is not None:
            self._owner.start_failed(start.generation)
            self._owner.one_less()
            return
        self._launch(start, prepared.result()).activate()

    def _launch(self, start: _Start, program: Program) -> Worker:
        execution_id = ids.uuid7(time.time_ns() // 1_000_000, _random.getrandbits(ids.RANDOM_BITS))
        worker = Worker(
            execution_id,
            start.function,
            program=program,
            generation=start.generation,
            policy=self._policy,
            # Must not be guessable from what others know of the worker.
            folder=self._resources.folder / f"{_random.getrandbits(48):012x}",
            owner=self._owner,
            resources=self._resources,
            quota=self._quota,
        )
        life = self._loop.create_task(worker.live())
        self._alive[worker] = life
        life.add_done_callback(functools.partial(self._lived, worker))
        return worker

    def _lived(self, worker: Worker, life: asyncio.Task[None]) -> None:
        del self._alive[worker]
        self._owner.one_less()
        if not life.cancelled():
            # It never raises; if it ever does, the event loop's exception handler must hear of it.
            life.result()

    def came_up(self) -> None:
        """A worker of this generation is ready."""
        is_oneshot = self._policy is Policy.ONESHOT
        self._loop.call_later(ONESHOT_STANDBY_AFTER_S if is_oneshot else STANDBY_AFTER_S, self._keep_standby)
        self._change.start_ended()

    def went_down(self, worker: Worker, end: End) -> None:
        """See `outlast.supervisor.worker.Owner.worker_gone`."""
        self._change.start_ended()
        if worker.generation == self.generation:
            if end.boot_error is not None or end.died_young:
                self.brake.failed(refuses=end.boot_error is not None)
            elif worker.was_ready:
                self.brake.succeeded()

    # Standbys: for a function in use, the next worker is started before it is needed.

    def _standbys(self) -> Iterator[Worker]:
        for worker in self._alive:
            if worker.is_standby and worker.generation == self.generation:
                yield worker

    def _keep_standby(self) -> None:
        program = self._preparation.program
        if program is None or self.closing is not None or self.brake.is_on:
            return
        for _ in range(self.function.scale.standby - sum(1 for _ in self._standbys())):
            self._launch(_Start(self.function, self.generation), program)

    def stand_down(self) -> None:
        """No worker takes requests: if the function is not called for a while, its standbys end."""
        if self._standby_kept is None:
            self._standby_kept = self._loop.call_later(STANDBY_KEPT_S, self._end_standby_of_unused)

    def _end_standby_of_unused(self) -> None:
        self._standby_kept = None
        if (unused_s := self._owner.unused_s()) < STANDBY_KEPT_S:
            self._standby_kept = self._loop.call_later(STANDBY_KEPT_S - unused_s, self._end_standby_of_unused)
            return
        for standby in [*self._standbys()]:
            standby.kill(EndReason.EARLY_DROP)

    # Ends.

    def retire(self, worker: Worker, reason: EndReason) -> None:
        """Retires the worker; one that is still booting for a waiting request is retired when it is ready."""
        if worker.state in (State.READY, State.RETIRED):
            worker.retire(reason)

    def end_needless(self, is_awaited: Callable[[int], bool]) -> None:
        """Kills outdated workers that nobody waits for. They might never end: a half-saved file may hang for ever.

        ``is_awaited``: whether a request waits for a worker of this generation.
        """
        for generation, preparation in [*self._outdated.items()]:
            if not (preparation.is_under_way and is_awaited(generation)):
                preparation.cancel()
                del self._outdated[generation]
        if self.closing is not None and not is_awaited(self.generation):
            # Its files may be gone, which is no news then.
            self._preparation.cancel()
        for worker in [*self._alive]:
            if worker.generation == self.generation and self.closing is None:
                continue
            for_nobody = worker.is_coming_up and not (worker.open_tasks or is_awaited(worker.generation))
            if for_nobody or worker.is_standby:
                worker.kill(self.closing or EndReason.RELOAD)

    def drain(self, execution_id: str | None) -> dict[str, bool]:
        """See `outlast.supervisor.pool.Pool.drain`."""
        chosen = [worker for worker in self if execution_id in (None, worker.execution_id)]
        drains = {worker.execution_id: not worker.is_coming_up for worker in chosen}
        for worker in chosen:
            if worker.state is State.READY:
                worker.retire(EndReason.RELOAD)
            elif worker.is_standby:
                worker.kill(EndReason.EARLY_DROP)
        return drains

    def close(self, reason: EndReason) -> None:
        """Has all workers finish what they have and end."""
        self.closing = reason
        self._change.cancel()
        for worker in [*self._alive]:
            self.retire(worker, reason)

    def kill(self, reason: EndReason) -> None:
        self._starts.clear()
        for worker in [*self._alive]:
            worker.kill(reason)

    def disband(self) -> None:
        """Cleans up after the last worker, when no more will be started."""
        self._preparation.cancel()
        self.brake.reset()
        self._quota.tell()
        if self._standby_kept is not None:
            self._standby_kept.cancel()

    # Generations: the successive states of the function's files.

    @property
    def wanted(self) -> FunctionSettings:
        """The function by the latest state of its files, which may not have taken effect yet."""
        return self._change.latest or self.function

    @property
    def modules(self) -> frozenset[Path]:
        """As of the last time that it could be prepared."""
        return self._preparation.modules or self._modules_before

    def is_concerned(self, path: Path) -> bool:
        return self._preparation.is_concerned(path)

    def reload(self, function: FunctionSettings, *, at_once: bool) -> None:
        if self.closing is None:
            self._change.announce(function, at_once=at_once)

    def is_preparing(self) -> bool:
        return self._preparation.is_under_way

    def _is_bringing_up(self) -> bool:
        # Starts for which nothing could be prepared are about to fail.
        return self.is_preparing() or (self._preparation.program is not None and self.starting() > 0)

    def _turn_over(self, function: FunctionSettings) -> None:
        """Begins a new generation, with the function as its files say."""
        self.function = function
        self._quota.use(function.log)
        self.brake.reset()
        self.generation += 1
        self._modules_before = self.modules
        self._preparation.is_outdated = True
        self._outdated[self.generation - 1] = self._preparation
        self._preparation = Preparation(function, self._resources, self._change.start_ended)
        self._owner.turned_over()
