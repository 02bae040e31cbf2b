"""The workers of one function, and which of them gets a request."""

import asyncio
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from outlast.config.settings import FunctionSettings
from outlast.core import balance, ids
from outlast.core.balance import Place
from outlast.core.lifecycle import State
from outlast.core.outcome import EndReason, RequestEnd
from outlast.core.policy import Policy
from outlast.supervisor.backlog import RETRY_AFTER_S, Backlog
from outlast.supervisor.brake import Brake
from outlast.supervisor.change import Change
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.preparation import Preparation
from outlast.supervisor.resources import Program, Resources
from outlast.supervisor.snapshot import FunctionSnapshot
from outlast.supervisor.worker import Worker
from outlast.telemetry.counts import Histogram
from outlast.telemetry.quota import Quota
from outlast.wire.invocation import Invocation, Reply

MAX_GONE_ROUND = 3
"""So many workers of a function may stand still, waiting, before requests have to wait for one to go on."""
IN_USE_S = 5.0
"""A worker whose function was called so lately is replaced before it retires, not after."""
STANDBY_AFTER_S = 0.25
"""From a worker's being ready to the start of the next one: its first requests shall not share the CPUs with that."""
STANDBY_KEPT_S = 60.0
"""Once a function that is not called any more has no other worker."""
SURPLUS_IDLE_MS = 10_000
"""After which one of several workers is one too many."""

_random = SystemRandom()


class _Start(NamedTuple):
    """What a worker is to be started for: the function as it was when it was asked for."""

    function: FunctionSettings
    generation: int


class Pool:
    """Serves one function (`outlast.gateway.server.Service`)."""

    def __init__(self, function: FunctionSettings, policy: Policy, resources: Resources) -> None:
        self.function = function
        self.generation = 0
        self._policy = policy
        self._is_oneshot = policy is Policy.ONESHOT
        self._resources = resources
        self._capacity = balance.capacity(policy, function.scale, resources.cpus)
        self._loop = asyncio.get_running_loop()
        self._ready: list[Worker] = []
        """Those that take requests. Invariant: all of them are of the present generation."""
        self._stuck: set[Worker] = set()
        """Those that would be among them, if their event loops went on."""
        self._due: dict[Worker, EndReason] = {}
        """Those of them that are to retire, each as soon as another worker is ready in its place."""
        self._alive: dict[Worker, asyncio.Task[None]] = {}
        """With their lives; until nothing is left of them."""
        self._starts: list[_Start] = []
        """Workers to be, whose program is not prepared yet."""
        self._backlog = Backlog(self._overdue_end)
        self._asked_at = -math.inf
        """When it was last called, on the event loop's clock, in seconds."""
        self._brake = Brake(function.name, resources.log, self._serve_waiting)
        self._quota = Quota(function.name, function.log, resources.log)
        self._change: Change[FunctionSettings] = Change(self._is_bringing_up, self._turn_over)
        self._preparation = Preparation(function, resources, self._change.started)
        self._standby_kept: asyncio.TimerHandle | None = None
        self._closing: EndReason | None = None
        self._killed = False
        self._ended = asyncio.Event()

    @property
    def verify_jwt(self) -> bool:
        return self.function.verify_jwt

    # Requests.

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        """Takes over a request. ``body``: what has come of it; ``complete``: that this is all."""
        exchange = Exchange(self, invocation, reply, body, complete, self.generation)
        self._asked_at = self._loop.time()
        self._place(exchange)
        return exchange

    def _place(self, exchange: Exchange) -> None:
        worker = balance.choose(self._ready, self._capacity)
        if worker is not None:
            self._assign(exchange, worker)
            if len(self._ready) < self._capacity.max_workers and not worker.has_spare_time:
                self._grow()
            return
        place = Place.REFUSE if self._killed else self._find_place(len(self._backlog))
        if place is Place.REFUSE:
            exchange.fail(RequestEnd.WORKER_BUSY, retry_after_s=RETRY_AFTER_S)
        elif self._brake.is_on and self._brake.refuses and not self._ready:
            exchange.fail(RequestEnd.BOOT_ERROR, retry_after_s=max(1, math.ceil(self._brake.remaining_s)))
        else:
            self._backlog.add(exchange)
            if place is Place.START and not self._brake.is_on:
                self._start()

    def _grow(self) -> None:
        """The worker that was chosen is busy: the next request shall find another."""
        if self._find_place(0) is Place.START and not self._brake.is_on:
            self._start()

    def _find_place(self, waiting: int) -> Place:
        starting = self._starting()
        # What stands still without computing is gone round, but not without end.
        asleep = sum(worker.has_spare_time for worker in self._stuck)
        computing = len(self._stuck) - asleep
        alive = starting + len(self._ready) - len(self._due) + computing + max(0, asleep - MAX_GONE_ROUND)
        if self._policy is Policy.ONESHOT:
            # Those that have had their one request count until they are gone: each is a whole process.
            alive += sum(worker.state in (State.RETIRED, State.UNLOADING) for worker in self._alive)
        return balance.place(self._capacity, alive=alive, starting=starting, waiting=waiting)

    def _starting(self) -> int:
        """How many workers come up. Nobody counts on those of an older generation, which end when they are ready."""
        return sum(start.generation == self.generation for start in self._starts) + sum(
            worker.is_coming_up and worker.generation == self.generation for worker in self._alive
        )

    def _assign_waiting(self, exchange: Exchange, worker: Worker) -> None:
        if (trace := exchange.invocation.trace) is not None:
            trace.waited(is_first=worker.requests_begun == 0)
        self._assign(exchange, worker)

    def _assign(self, exchange: Exchange, worker: Worker) -> None:
        worker.carry(exchange)
        if self._is_oneshot:
            worker.retire(EndReason.ONESHOT)

    def place_again(self, exchange: Exchange) -> None:
        self._place(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Its caller left before a worker was found."""
        if self._backlog.remove(exchange):
            self._end_needless()

    def _serve_waiting(self) -> None:
        """Gives what waits to what is ready, and starts what is missing."""
        # Each turn looks anew, because assigning a request can lead back to here.
        while self._backlog and (worker := balance.choose(self._ready, self._capacity)) is not None:
            self._assign_waiting(self._backlog.pop(), worker)
        while (
            self._backlog
            and not self._killed
            and not self._brake.is_on
            and self._find_place(len(self._backlog) - 1) is Place.START
        ):
            self._start()
        self._end_needless()

    def _overdue_end(self) -> RequestEnd:
        """Where workers do become ready there are too few of them."""
        return RequestEnd.WORKER_BUSY if any(worker.was_ready for worker in self._alive) else RequestEnd.BOOT_ERROR

    def _boot_failed(self, generation: int, count: int | None) -> None:
        """A start came to nothing that so many requests (None: all) were waiting for."""
        if generation < self.generation:
            # The files have changed since: whoever waited for what they were gets what they are.
            self._serve_waiting()
        elif not self._ready:
            self._backlog.fail(RequestEnd.BOOT_ERROR, count)
            self._serve_waiting()
        # Otherwise other workers did boot. What waits is served by them, and the next request that does not find room
        # starts another: to do it now could go round and round.

    # Workers.

    def prepare(self) -> asyncio.Task[Program]:
        """Fetches what the function needs, ahead of the first request. Done once for each state of its files."""
        return self._preparation.begin()

    def _start(self) -> None:
        """Brings up one more worker to take requests."""
        standby = next(self._standbys(), None)
        if standby is not None:
            standby.activate()
            return
        start = _Start(self.function, self.generation)
        self._starts.append(start)
        self.prepare().add_done_callback(functools.partial(self._bring_up, start))

    def _standbys(self) -> Iterator[Worker]:
        for worker in self._alive:
            if worker.is_standby and worker.generation == self.generation:
                yield worker

    def _bring_up(self, start: _Start, prepared: asyncio.Task[Program]) -> None:
        if start not in self._starts:
            return
        self._starts.remove(start)
        if prepared.cancelled() or prepared.exception() is not None:
            self._boot_failed(start.generation, count=None)
            self._check_ended()
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
            # Not to be worked out from what others know of the worker.
            folder=self._resources.folder / f"{_random.getrandbits(48):012x}",
            owner=self,
            log=self._resources.log,
            register=self._resources.register,
            meter=self._resources.meter,
            quota=self._quota,
        )
        life = self._loop.create_task(worker.live(self._resources.spawn))
        self._alive[worker] = life
        life.add_done_callback(functools.partial(self._lived, worker))
        return worker

    def _lived(self, worker: Worker, life: asyncio.Task[None]) -> None:
        del self._alive[worker]
        self._check_ended()
        if not life.cancelled():
            # It never raises; if it did, the event loop's handler of exceptions shall know.
            life.result()

    def _keep_standby(self) -> None:
        """For a function in use, the next worker is started before it is needed."""
        program = self._preparation.program
        if program is None or self._closing is not None or self._brake.is_on:
            return
        for _ in range(self.function.scale.standby - sum(1 for _ in self._standbys())):
            self._launch(_Start(self.function, self.generation), program)

    def _end_standby_of_unused(self) -> None:
        self._standby_kept = None
        if not (self._ready or self._starting() or self._backlog):
            unused_s = self._loop.time() - self._asked_at
            if unused_s < STANDBY_KEPT_S:
                self._standby_kept = self._loop.call_later(STANDBY_KEPT_S - unused_s, self._end_standby_of_unused)
                return
            for standby in [*self._standbys()]:
                standby.kill(EndReason.EARLY_DROP)

    def _end_needless(self) -> None:
        """Ends those that come up for nobody, perhaps never: half of a file, just being saved, may wait for ever."""
        for worker in [*self._alive]:
            if worker.generation == self.generation and self._closing is None:
                continue
            for_nobody = worker.is_coming_up and not (
                len(worker.tasks) or any(exchange.generation <= worker.generation for exchange in self._backlog)
            )
            if for_nobody or worker.is_standby:
                worker.kill(self._closing or EndReason.RELOAD)

    # What its workers tell (`outlast.supervisor.worker.Owner`).

    def worker_ready(self, worker: Worker) -> None:
        if worker.generation == self.generation:
            self._ready.append(worker)
            self._serve_waiting()
            if self._closing is not None:
                self._retire(worker, self._closing)
            for due in [*self._due][:1]:
                due.retire(self._due[due])
            if self._policy is Policy.ONESHOT:
                # The very next request needs it.
                self._keep_standby()
            else:
                self._loop.call_later(STANDBY_AFTER_S, self._keep_standby)
            self._change.started()
            return
        # It serves those that it was started for, who came before the files changed.
        content = [exchange for exchange in self._backlog if exchange.generation <= worker.generation]
        for exchange in content[: self._capacity.per_worker]:
            self._backlog.remove(exchange)
            self._assign_waiting(exchange, worker)
        self._retire(worker, self._closing or EndReason.RELOAD)

    def worker_freed(self, worker: Worker) -> None:
        if self._backlog:
            self._serve_waiting()

    def worker_due(self, worker: Worker, cause: EndReason) -> None:
        if worker not in self._ready or self._loop.time() - self._asked_at > self._in_use_s:
            worker.retire(cause)
            return
        self._due.setdefault(worker, cause)
        # Asked again and again, so that a start that came to nothing is followed by another.
        if self._starting() < len(self._due) and not self._brake.is_on:
            self._start()

    @property
    def _in_use_s(self) -> float:
        idle_ms = self.function.limits.idle_timeout_ms
        return min(IN_USE_S, idle_ms / 1000) if idle_ms else IN_USE_S

    def worker_idle(self, worker: Worker) -> None:
        is_surplus = worker in self._ready[1:] and worker.usage.idle_ms >= SURPLUS_IDLE_MS
        if is_surplus and self._ready[0].has_spare_time:
            worker.retire(EndReason.EARLY_DROP)

    def worker_barred(self, worker: Worker) -> None:
        self._due.pop(worker, None)
        if worker in self._stuck or worker in self._ready:
            self._stuck.discard(worker)
            if worker in self._ready:
                self._ready.remove(worker)
            self._serve_waiting()
        if not self._ready and self._standby_kept is None and self._closing is None:
            self._standby_kept = self._loop.call_later(STANDBY_KEPT_S, self._end_standby_of_unused)

    def worker_stuck(self, worker: Worker, stuck: bool) -> None:
        if stuck and worker in self._ready:
            self._due.pop(worker, None)
            self._ready.remove(worker)
            self._stuck.add(worker)
        elif not stuck and worker in self._stuck:
            self._stuck.remove(worker)
            self._ready.append(worker)
            self._serve_waiting()

    def worker_gone(self, worker: Worker, boot_error: str | None, died_young: bool) -> None:
        self._change.started()
        if worker.generation == self.generation:
            if boot_error is not None or died_young:
                self._brake.failed(refuses=boot_error is not None)
            elif worker.was_ready:
                self._brake.succeeded()
        if boot_error is not None and worker.is_wanted:
            self._boot_failed(worker.generation, None if self._policy is Policy.PER_WORKER else 1)
        else:
            self._serve_waiting()

    def _retire(self, worker: Worker, reason: EndReason) -> None:
        if worker.state in (State.READY, State.RETIRED):
            worker.retire(reason)

    # The whole pool.

    def snapshot(self) -> FunctionSnapshot:
        workers = [worker.snapshot(is_current=worker.generation == self.generation) for worker in self._with_process]
        return FunctionSnapshot(
            name=self.function.name,
            language=self.function.language,
            entrypoint=str(self.function.entrypoint),
            verify_jwt=self.function.verify_jwt,
            policy=self._policy,
            requests=sum(worker.requests for worker in workers),
            waiting=len(self._backlog),
            open_tasks=sum(worker.open_tasks for worker in workers),
            workers=workers,
        )

    @property
    def _with_process(self) -> Iterator[Worker]:
        """What is left of the others is being cleared away."""
        return (worker for worker in self._alive if worker.state is not State.EXITED)

    @property
    def waits(self) -> Histogram:
        """How long requests waited that found no worker ready."""
        return self._backlog.waits

    def drain(self, execution_id: str | None = None) -> dict[str, bool]:
        """Has this worker, or every one, end when it has done what it has.

        Returns of each whether it does. One that comes up for requests which wait is left alone.
        """
        chosen = [worker for worker in self._with_process if execution_id in (None, worker.execution_id)]
        drains = {worker.execution_id: not worker.is_coming_up for worker in chosen}
        for worker in chosen:
            if worker.state is State.READY:
                worker.retire(EndReason.RELOAD)
            elif worker.is_standby:
                worker.kill(EndReason.EARLY_DROP)
        return drains

    @property
    def running(self) -> list[Worker]:
        """Those that the function's code runs in."""
        return [worker for worker in self._with_process if worker.was_ready]

    def renew(self) -> None:
        """As if its files had changed."""
        self.reload(self.wanted)

    @property
    def wanted(self) -> FunctionSettings:
        """The function as its files said last: it may have to wait for a start to come to its end."""
        return self._change.latest or self.function

    def is_concerned(self, path: Path) -> bool:
        """Whether a change of the file at this path changes the function."""
        return self._preparation.is_concerned(path)

    @property
    def modules(self) -> frozenset[Path]:
        return self._preparation.modules

    def reload(self, function: FunctionSettings, *, at_once: bool = False) -> None:
        """The files have changed: requests from now on get the new code, what runs goes on to its end."""
        if self._closing is None:
            self._change.announce(function, at_once=at_once)

    def _is_bringing_up(self) -> bool:
        return self._starting() > 0 or self._preparation.is_under_way

    def _turn_over(self, function: FunctionSettings) -> None:
        """From now on the function is what its files say."""
        self.function = function
        self._capacity = balance.capacity(self._policy, self.function.scale, self._resources.cpus)
        self._quota.use(self.function.log)
        self._brake.reset()
        self.generation += 1
        self._preparation.is_outdated = True
        self._preparation = Preparation(function, self._resources, self._change.started)
        outdated, self._ready = [*self._ready, *self._stuck], []
        self._stuck.clear()
        for worker in outdated:
            worker.retire(EndReason.RELOAD)
        self.prepare()
        self._serve_waiting()

    def close(self, reason: EndReason) -> None:
        """No more requests will come. Workers end when they have nothing left to do."""
        self._closing = reason
        self._change.cancel()
        self._ready.clear()
        self._stuck.clear()
        for worker in [*self._alive]:
            # One that boots, for somebody who waits, is told when it has.
            self._retire(worker, reason)
        self._serve_waiting()
        self._check_ended()

    async def wait_ended(self) -> None:
        """Until the last worker is gone, after `close`."""
        await self._ended.wait()

    def kill(self, reason: EndReason) -> None:
        """Ends all that is left, at once; after `close`."""
        self._killed = True
        self._starts.clear()
        self._backlog.fail(RequestEnd.WORKER_BUSY)
        for worker in [*self._alive]:
            worker.kill(reason)
        self._check_ended()

    def _check_ended(self) -> None:
        if self._closing is not None and not (self._alive or self._backlog or self._starts):
            self._preparation.cancel()
            self._backlog.close()
            self._brake.reset()
            self._quota.tell()
            if self._standby_kept is not None:
                self._standby_kept.cancel()
            self._ended.set()
