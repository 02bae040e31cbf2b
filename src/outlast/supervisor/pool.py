"""One function: which of its workers gets a request, and what becomes of requests that none can take."""

import asyncio
import math
from collections.abc import Iterable
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.core import balance
from outlast.core.balance import Place
from outlast.core.outcome import SHUT_DOWN, EndReason, RequestEnd
from outlast.core.policy import Policy
from outlast.supervisor.backlog import RETRY_AFTER_S, Backlog
from outlast.supervisor.crew import Crew
from outlast.supervisor.ending import End
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.resources import Program, Resources
from outlast.supervisor.rotation import Rotation
from outlast.supervisor.snapshot import FunctionSnapshot
from outlast.supervisor.worker import Worker
from outlast.telemetry.counts import Histogram
from outlast.wire.invocation import Invocation, Reply

IN_USE_S = 5.0
"""If a function was called this recently, its workers are replaced before they retire, not after."""
SECOND_LOOK_AFTER_S = 0.005
"""Where an event loop is at work when it is given a request. If it has done nothing about it but compute by then,
another worker is started for the next request."""
STILL_FETCHING = "what the function imports was still being fetched or compiled, which takes longest the first time"
SURPLUS_IDLE_MS = 60_000
"""Idle for this long, one of several workers is one too many. Standbys are kept as long."""


class Pool:
    """Serves one function (`outlast.gateway.ports.Service`)."""

    def __init__(self, function: FunctionSettings, policy: Policy, resources: Resources) -> None:
        self._policy = policy
        self._is_oneshot = policy is Policy.ONESHOT
        self._cpus = resources.cpus
        self._capacity = balance.capacity(policy, function.scale, resources.cpus)
        self._loop = asyncio.get_running_loop()
        self._crew = Crew(function, policy, resources, self)
        self._rotation = Rotation()
        self._backlog = Backlog(self._crew.is_preparing, self._overdue_end, self._given_up)
        self._asked_at = -math.inf
        """When the function was last called, on the event loop's clock, in seconds."""
        self._doubts = False
        """Whether a second look at a worker is due."""
        self._killed = False
        self._ended = asyncio.Event()
        self.verify_jwt = function.verify_jwt

    # Requests.

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        """See `outlast.gateway.ports.Service.submit`."""
        exchange = Exchange(self, invocation, reply, body, complete, self._crew.generation)
        self._asked_at = self._loop.time()
        self._place(exchange)
        return exchange

    def _place(self, exchange: Exchange) -> None:
        ready = self._rotation.ready
        worker = balance.choose(ready, self._capacity)
        if worker is not None:
            if len(ready) < self._capacity.max_workers:
                # Before it is given the request, which it would be at work for.
                self._consider_growth(worker)
            self._assign(exchange, worker)
            return
        place = self._find_place(len(self._backlog.waiting))
        brake = self._crew.brake
        if place is Place.REFUSE:
            exchange.fail(RequestEnd.WORKER_BUSY, self._why_refused(), retry_after_s=RETRY_AFTER_S)
        elif brake.is_on and brake.refuses and not ready:
            exchange.fail(RequestEnd.BOOT_ERROR, retry_after_s=max(1, math.ceil(brake.remaining_s)))
        else:
            self._backlog.add(exchange)
            if place is Place.START:
                self._crew.start()

    def _why_refused(self) -> str:
        if self._killed:
            return SHUT_DOWN
        return (
            f"{len(self._backlog.waiting):,} requests were waiting already. "
            f"To let more wait: [functions.{self._crew.function.name}.scale] max_backlog in outlast.toml"
        )

    def _consider_growth(self, worker: Worker) -> None:
        """The worker that a request is to go to may be so busy that the next one needs another."""
        if not worker.has_spare_time:
            self._grow()
        elif not (worker.quick or self._doubts) and worker.is_running():
            self._doubts = True
            at_first = self._loop.time(), worker.cpu_ms, worker.signs_of_life
            self._loop.call_later(SECOND_LOOK_AFTER_S, self._look_again, worker, *at_first)

    def _look_again(self, worker: Worker, since: float, cpu_ms: float, signs_of_life: int) -> None:
        self._doubts = False
        elapsed_ms = (self._loop.time() - since) * 1000
        is_silent = worker in self._rotation.ready and worker.signs_of_life == signs_of_life
        # Where the machine has no time for this one, it has none for another.
        if is_silent and worker.cpu_ms - cpu_ms > elapsed_ms / 2:
            self._grow()

    def _grow(self) -> None:
        """Starts another worker for the next request."""
        if self._find_place(0) is Place.START:
            self._crew.start()

    def _find_place(self, waiting: int) -> Place:
        if self._killed:
            return Place.REFUSE
        starting = self._crew.starting()
        alive = starting + self._rotation.places_taken
        if self._is_oneshot:
            # Those that have had their one request count until they have exited: each is a whole process.
            alive += self._crew.ending()
        place = balance.place(self._capacity, alive=alive, starting=starting, waiting=waiting)
        return Place.WAIT if place is Place.START and self._crew.brake.is_on else place

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
        """The caller left before a worker was found."""
        if self._backlog.remove(exchange):
            self._given_up()

    def _given_up(self) -> None:
        """Requests have left the backlog without a worker: what was kept for them alone can end."""
        self._crew.end_needless(self._backlog.awaits)
        self._end_if_empty()

    def _serve_waiting(self) -> None:
        """Gives waiting requests to ready workers, and starts workers for the others."""
        # Each turn looks anew, because assigning a request can lead back to here.
        while self._backlog.waiting and (worker := balance.choose(self._rotation.ready, self._capacity)) is not None:
            self._assign_waiting(self._backlog.pop(), worker)
        while (waiting := len(self._backlog.waiting)) and self._find_place(waiting - 1) is Place.START:
            self._crew.start()
        self._crew.end_needless(self._backlog.awaits)

    def _overdue_end(self) -> tuple[RequestEnd, str]:
        """If workers do become ready, there were just too few of them."""
        if self._crew.knows_ready():
            return RequestEnd.WORKER_BUSY, ""
        return RequestEnd.BOOT_ERROR, STILL_FETCHING if self._crew.is_preparing() else ""

    def _boot_failed(self, generation: int, count: int | None) -> None:
        """A start failed that ``count`` requests (None: all) were waiting for."""
        if generation < self._crew.generation:
            # The files have changed since: requests that waited for the old code get the new.
            self._serve_waiting()
        elif not self._rotation.ready:
            self._backlog.fail(RequestEnd.BOOT_ERROR, count)
            self._serve_waiting()
        # Otherwise other workers are ready, and serve what waits. The next request that finds no room starts another;
        # starting it now could go on for ever.

    # What its workers report (`outlast.supervisor.worker.Owner`).

    def worker_ready(self, worker: Worker) -> None:
        closing = self._crew.closing
        if worker.generation == self._crew.generation:
            self._rotation.add(worker)
            self._serve_waiting()
            if closing is not None:
                self._crew.retire(worker, closing)
            self._rotation.relieve()
            self._crew.came_up()
            return
        # It serves the requests that it was started for, which came before the files changed.
        content = [exchange for exchange in self._backlog.waiting if exchange.generation <= worker.generation]
        for exchange in content[: self._capacity.per_worker]:
            self._backlog.remove(exchange)
            self._assign_waiting(exchange, worker)
        self._crew.retire(worker, closing or EndReason.RELOAD)

    def worker_freed(self, worker: Worker) -> None:
        if self._backlog.waiting:
            self._serve_waiting()

    def worker_due(self, worker: Worker, cause: EndReason) -> None:
        if worker not in self._rotation.ready or self._loop.time() - self._asked_at > self._in_use_s:
            worker.retire(cause)
            return
        self._rotation.expire(worker, cause)
        # This is called again and again, so that a failed start is followed by another.
        if self._crew.starting() < self._rotation.due and not self._crew.brake.is_on:
            self._crew.start()

    @property
    def _in_use_s(self) -> float:
        idle_ms = self._crew.function.limits.idle_timeout_ms
        return min(IN_USE_S, idle_ms / 1000) if idle_ms else IN_USE_S

    def worker_idle(self, worker: Worker) -> None:
        ready = self._rotation.ready
        is_surplus = worker in ready[1:] and worker.usage.idle_ms >= SURPLUS_IDLE_MS
        if is_surplus and ready[0].has_spare_time:
            worker.retire(EndReason.EARLY_DROP)

    def worker_barred(self, worker: Worker) -> None:
        if self._rotation.remove(worker):
            self._serve_waiting()
        if not self._rotation.ready:
            self._crew.stand_down()

    def worker_stuck(self, worker: Worker, stuck: bool) -> None:
        if stuck:
            self._rotation.suspend(worker)
        elif self._rotation.resume(worker):
            self._serve_waiting()

    def worker_gone(self, worker: Worker, end: End) -> None:
        self._crew.went_down(worker, end)
        if end.boot_error is not None and worker.is_wanted:
            self._boot_failed(worker.generation, None if self._policy is Policy.PER_WORKER else 1)
        else:
            self._serve_waiting()

    # What its crew reports (`outlast.supervisor.crew.Owner`).

    def start_failed(self, generation: int) -> None:
        self._boot_failed(generation, count=None)

    def start_possible(self) -> None:
        self._serve_waiting()

    def turned_over(self) -> None:
        function = self._crew.function
        self._capacity = balance.capacity(self._policy, function.scale, self._cpus)
        self.verify_jwt = function.verify_jwt
        for worker in self._rotation.clear():
            worker.retire(EndReason.RELOAD)
        self._crew.prepare()
        self._serve_waiting()

    def unused_s(self) -> float:
        if self._rotation.ready or self._crew.starting() or self._backlog.waiting:
            return 0.0
        return self._loop.time() - self._asked_at

    def one_less(self) -> None:
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        """After `close`, the pool ends with the last worker and the last request."""
        if self._crew.closing is not None and self._crew.is_empty and not self._backlog.waiting:
            self._crew.disband()
            self._backlog.close()
            self._ended.set()

    # The whole pool.

    def prepare(self) -> asyncio.Task[Program]:
        """Fetches what the function needs before its first request; once for each state of its files."""
        return self._crew.prepare()

    def snapshot(self) -> FunctionSnapshot:
        function, generation = self._crew.function, self._crew.generation
        workers = [worker.snapshot(is_current=worker.generation == generation) for worker in self._crew]
        return FunctionSnapshot(
            name=function.name,
            language=function.language,
            entrypoint=str(function.entrypoint),
            verify_jwt=function.verify_jwt,
            policy=self._policy,
            requests=sum(worker.requests for worker in workers),
            waiting=len(self._backlog.waiting),
            open_tasks=sum(worker.open_tasks for worker in workers),
            workers=workers,
        )

    @property
    def waits(self) -> Histogram:
        """How long requests waited that found no ready worker."""
        return self._backlog.waits

    @property
    def running(self) -> Iterable[Worker]:
        """The workers in which the function's code runs."""
        return [worker for worker in self._crew if worker.was_ready]

    def drain(self, execution_id: str | None = None) -> dict[str, bool]:
        """Has this worker, or every one, finish what it has and end.

        Returns for each whether it will. A worker that is coming up for waiting requests is left alone.
        """
        return self._crew.drain(execution_id)

    @property
    def wanted(self) -> FunctionSettings:
        """The function by the latest state of its files, which may not have taken effect yet."""
        return self._crew.wanted

    @property
    def modules(self) -> frozenset[Path]:
        """The local files that it imports, as far as that is known."""
        return self._crew.modules

    def is_concerned(self, path: Path) -> bool:
        """Whether a change to this file can change the function."""
        return self._crew.is_concerned(path)

    def reload(self, function: FunctionSettings, *, at_once: bool = False) -> None:
        """The files have changed: requests from now on get the new code; what is running is finished."""
        self._crew.reload(function, at_once=at_once)

    def renew(self) -> None:
        """Reloads, as if the files had changed."""
        self.reload(self.wanted)

    def close(self, reason: EndReason) -> None:
        """No more requests will come. Workers end when they have finished what they have."""
        self._crew.close(reason)
        self._serve_waiting()
        self._end_if_empty()

    async def wait_ended(self) -> None:
        """Waits until the last worker is gone, after `close`."""
        await self._ended.wait()

    def kill(self, reason: EndReason) -> None:
        """Kills all that is left, after `close`."""
        self._killed = True
        self._backlog.fail(RequestEnd.WORKER_BUSY, why=SHUT_DOWN)
        self._crew.kill(reason)
        self._end_if_empty()
