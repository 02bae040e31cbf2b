"""The workers of one function, and the requests that wait for them."""

import asyncio
import functools
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple, Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import balance, ids, lifecycle
from outlast.core.balance import Place
from outlast.core.errors import OutlastError
from outlast.core.language import Language
from outlast.core.lifecycle import State
from outlast.core.outcome import EndReason, RequestEnd
from outlast.core.policy import OneshotBackground, Policy
from outlast.engines.processes import Command, Process
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.worker import Worker
from outlast.telemetry.logs import Level, Log
from outlast.wire.invocation import Invocation, Reply

MAX_WAIT_S = 10.0
RETRY_AFTER_S = 1
MAX_GONE_ROUND = 3
"""So many workers of a function may stand still before requests have to wait for one to go on."""
MAX_HOLD_S = 0.5
"""A reload takes effect within a second of the change; the rest of that is for noticing it."""

_random = SystemRandom()


class Program(Protocol):
    """A function made ready to run: its dependencies are there, its code can be read."""

    def command(self, folder: Path, execution_id: str) -> Command:
        """What to run as a worker whose own folder this is."""

    @property
    def modules(self) -> frozenset[Path]:
        """The local files that it imports, links resolved."""

    def concerns(self, path: Path) -> bool:
        """Whether a change of this file (links resolved) changes what the function does."""


class Engine(Protocol):
    """What one language needs to know."""

    async def prepare(self, function: FunctionSettings) -> Program:
        """Called at the start and after each change. Raises OutlastError, saying what is wrong with the function."""


@dataclass(frozen=True)
class Resources:
    """What every pool of a node uses."""

    engines: Mapping[Language, Engine]
    spawn: Callable[[Command], Awaitable[Process]]
    folder: Path
    """For the workers' own folders. Short, as the paths of unix sockets are (unix(7): 108 bytes)."""
    log: Log
    on_prepared: Callable[[], None]
    """Called when it is known what a function imports."""


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
        self._capacity = balance.CAPACITY[policy]
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._ready: list[Worker] = []
        """Those that take requests. Invariant: all of them are of the present generation."""
        self._stuck: set[Worker] = set()
        """Those that would be among them, if their event loops went on."""
        self._alive: dict[Worker, asyncio.Task[None]] = {}
        """With their lives; until nothing is left of them."""
        self._starts: list[_Start] = []
        """Workers to be, whose program is not prepared yet."""
        self._waiting: deque[Exchange] = deque()
        """Requests that no worker has, oldest first."""
        self._overdue: asyncio.TimerHandle | None = None
        self._program: asyncio.Task[Program] | None = None
        self._known_failure: tuple[int, str] | None = None
        """Of the preparation of a generation: each request tries again, and what it finds is news only once."""
        self._next: FunctionSettings | None = None
        """What the files say by now, while a start for what they said before is under way."""
        self._held: asyncio.TimerHandle | None = None
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
        self._place(exchange)
        return exchange

    def _place(self, exchange: Exchange) -> None:
        if len(self._ready) == 1 and self._capacity.per_worker is None:
            # Nothing to choose, in what is by far the most frequent case.
            self._assign(exchange, self._ready[0])
            return
        index = balance.choose([worker.requests for worker in self._ready], self._capacity)
        if index is not None:
            self._assign(exchange, self._ready[index])
            return
        place = Place.REFUSE if self._killed else self._find_place(len(self._waiting))
        if place is Place.REFUSE:
            exchange.fail(RequestEnd.WORKER_BUSY, retry_after_s=RETRY_AFTER_S)
            return
        if exchange.waits_since:
            # It was with a worker that turned out to be gone: its turn is now, and its time runs on.
            self._waiting.appendleft(exchange)
        else:
            exchange.waits_since = self._loop.time()
            self._waiting.append(exchange)
        if place is Place.START:
            self._start()
        if self._overdue is None:
            self._overdue = self._loop.call_later(MAX_WAIT_S, self._give_up_overdue)

    def _find_place(self, waiting: int) -> Place:
        starting = self._starting()
        # What stands still is gone round, but not without end.
        alive = starting + len(self._ready) + max(0, len(self._stuck) - MAX_GONE_ROUND)
        if self._policy is Policy.ONESHOT:
            # Those that have had their one request count until they are gone: each is a whole process.
            alive += sum(worker.state in (State.RETIRED, State.UNLOADING) for worker in self._alive)
        return balance.place(self._capacity, alive=alive, starting=starting, waiting=waiting)

    def _starting(self) -> int:
        """How many workers come up. Nobody counts on those of an older generation, which end when they are ready."""
        return sum(start.generation == self.generation for start in self._starts) + sum(
            worker.state in lifecycle.COMING_UP and worker.generation == self.generation for worker in self._alive
        )

    def _assign(self, exchange: Exchange, worker: Worker) -> None:
        worker.carry(exchange)
        if self._policy is Policy.ONESHOT:
            worker.retire(EndReason.ONESHOT)

    def place_again(self, exchange: Exchange) -> None:
        self._place(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Its caller left before a worker was found."""
        if exchange in self._waiting:
            self._waiting.remove(exchange)
            self._end_unwanted()

    def _serve_waiting(self) -> None:
        """Gives what waits to what is ready, and starts what is missing."""
        # Each turn looks anew, because assigning a request can lead back to here.
        while self._waiting:
            index = balance.choose([worker.requests for worker in self._ready], self._capacity)
            if index is None:
                break
            self._assign(self._waiting.popleft(), self._ready[index])
        while self._waiting and not self._killed and self._find_place(len(self._waiting) - 1) is Place.START:
            self._start()
        self._end_unwanted()

    def _end_unwanted(self) -> None:
        """Ends those that come up for nobody, perhaps never: half of a file, just being saved, may wait for ever."""
        for worker in [*self._alive]:
            if (
                worker.state in lifecycle.COMING_UP
                and (worker.generation < self.generation or self._closing is not None)
                and not len(worker.tasks)
                and all(exchange.generation > worker.generation for exchange in self._waiting)
            ):
                worker.kill(self._closing or EndReason.RELOAD)

    def _give_up_overdue(self) -> None:
        self._overdue = None
        now = self._loop.time()
        # Where workers do become ready there are too few of them.
        end = RequestEnd.WORKER_BUSY if any(worker.was_ready for worker in self._alive) else RequestEnd.BOOT_ERROR
        while self._waiting and self._waiting[0].waits_since + MAX_WAIT_S <= now:
            self._waiting.popleft().fail(end, retry_after_s=RETRY_AFTER_S)
        if self._waiting and self._overdue is None:
            remaining = self._waiting[0].waits_since + MAX_WAIT_S - now
            self._overdue = self._loop.call_later(remaining, self._give_up_overdue)

    def _fail_waiting(self, end: RequestEnd, count: int | None = None) -> None:
        """Of the oldest ``count``, or of all."""
        failed = [*self._waiting][:count]
        for exchange in failed:
            self._waiting.remove(exchange)
        for exchange in failed:
            exchange.fail(end)

    def _boot_failed(self, generation: int, count: int | None) -> None:
        """A start came to nothing that so many requests (None: all) were waiting for."""
        if generation < self.generation:
            # The files have changed since: whoever waited for what they were gets what they are.
            self._serve_waiting()
        elif not self._ready:
            self._fail_waiting(RequestEnd.BOOT_ERROR, count)
            self._serve_waiting()
        # Otherwise other workers did boot. What waits is served by them, and the next request that does not find room
        # starts another: to do it now could go round and round.

    # Workers.

    def prepare(self) -> asyncio.Task[Program]:
        """Fetches what the function needs, ahead of the first request. Done once for each state of its files."""
        if self._program is None or (self._program.done() and self._prepared_program() is None):
            self._program = self._loop.create_task(
                self._resources.engines[self.function.language].prepare(self.function)
            )
            self._program.add_done_callback(functools.partial(self._prepared, self.generation))
        return self._program

    def _prepared(self, generation: int, program: asyncio.Task[Program]) -> None:
        if program.cancelled():
            return
        self._resources.on_prepared()
        error = program.exception()
        if error is not None and generation == self.generation:
            text = str(error) if isinstance(error, OutlastError) else "".join(traceback.format_exception(error))
            known, self._known_failure = self._known_failure, (generation, text)
            if known != self._known_failure:
                self._resources.log.emit("boot_failure", level=Level.ERROR, function=self.function.name, msg=text)
        self._brought_up()

    def _start(self) -> None:
        start = _Start(self.function, self.generation)
        self._starts.append(start)
        self.prepare().add_done_callback(functools.partial(self._bring_up, start))

    def _bring_up(self, start: _Start, prepared: asyncio.Task[Program]) -> None:
        if start not in self._starts:
            return
        self._starts.remove(start)
        function, generation = start
        if prepared.cancelled() or prepared.exception() is not None:
            self._boot_failed(generation, count=None)
            self._check_ended()
            return
        execution_id = ids.uuid7(time.time_ns() // 1_000_000, _random.getrandbits(ids.RANDOM_BITS))
        worker = Worker(
            execution_id,
            function,
            generation=generation,
            cuts_tasks=self._policy is Policy.ONESHOT and function.oneshot_background is OneshotBackground.CUT,
            folder=self._resources.folder / execution_id[-12:],
            owner=self,
            log=self._resources.log,
        )
        life = self._loop.create_task(worker.live(prepared.result().command, self._resources.spawn))
        self._alive[worker] = life
        life.add_done_callback(functools.partial(self._lived, worker))

    def _lived(self, worker: Worker, life: asyncio.Task[None]) -> None:
        del self._alive[worker]
        self._check_ended()
        if not life.cancelled():
            # It never raises; if it did, the event loop's handler of exceptions shall know.
            life.result()

    # What its workers tell (`outlast.supervisor.worker.Owner`).

    def worker_ready(self, worker: Worker) -> None:
        if worker.generation == self.generation:
            self._ready.append(worker)
            self._serve_waiting()
            if self._closing is not None:
                self._retire(worker, self._closing)
            self._brought_up()
            return
        # It serves those that it was started for, who came before the files changed.
        content = [exchange for exchange in self._waiting if exchange.generation <= worker.generation]
        for exchange in content[: self._capacity.per_worker]:
            self._waiting.remove(exchange)
            self._assign(exchange, worker)
        self._retire(worker, self._closing or EndReason.RELOAD)

    def worker_freed(self, worker: Worker) -> None:
        if self._waiting:
            self._serve_waiting()

    def worker_barred(self, worker: Worker) -> None:
        self._stuck.discard(worker)
        if worker in self._ready:
            self._ready.remove(worker)
            self._serve_waiting()

    def worker_stuck(self, worker: Worker, stuck: bool) -> None:
        if stuck and worker in self._ready:
            self._ready.remove(worker)
            self._stuck.add(worker)
        elif not stuck and worker in self._stuck:
            self._stuck.remove(worker)
            self._ready.append(worker)
            self._serve_waiting()

    def worker_gone(self, worker: Worker, boot_error: str | None) -> None:
        self._brought_up()
        if boot_error is not None:
            self._boot_failed(worker.generation, self._capacity.per_worker)
        else:
            self._serve_waiting()

    def _retire(self, worker: Worker, reason: EndReason) -> None:
        if worker.state in (State.READY, State.RETIRED):
            worker.retire(reason)

    # The whole pool.

    def is_concerned(self, path: Path) -> bool:
        """Whether a change of the file at this path changes the function."""
        folder = self.function.folder
        if not {folder, folder.resolve()}.isdisjoint([path, *path.parents]):
            return True
        program = self._prepared_program()
        # What could not be prepared may have lacked just this file.
        return program is None or program.concerns(path)

    @property
    def modules(self) -> frozenset[Path]:
        program = self._prepared_program()
        return program.modules if program is not None else frozenset()

    def _prepared_program(self) -> Program | None:
        program = self._program
        if program is None or not program.done() or program.cancelled() or program.exception() is not None:
            return None
        return program.result()

    def reload(self, function: FunctionSettings) -> None:
        """The files have changed: requests from now on get the new code, what runs goes on to its end."""
        self._next = function
        if not self._is_bringing_up():
            self._turn_over()
        elif self._held is None:
            # With a start for each of many changes in a row, none of the starts would come to its end.
            self._held = self._loop.call_later(MAX_HOLD_S, self._turn_over)

    def _is_bringing_up(self) -> bool:
        return self._starting() > 0 or (self._program is not None and not self._program.done())

    def _brought_up(self) -> None:
        """A start is over, well or not."""
        if self._next is not None and not self._is_bringing_up():
            self._turn_over()

    def _turn_over(self) -> None:
        """From now on the function is what its files say."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
        if self._next is None or self._closing is not None:
            return
        self.function, self._next = self._next, None
        self.generation += 1
        self._program = None
        outdated, self._ready = [*self._ready, *self._stuck], []
        self._stuck.clear()
        for worker in outdated:
            worker.retire(EndReason.RELOAD)
        self.prepare()
        self._serve_waiting()

    def close(self, reason: EndReason) -> None:
        """No more requests will come. Workers end when they have nothing left to do."""
        self._closing = reason
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
        self._fail_waiting(RequestEnd.WORKER_BUSY)
        for worker in [*self._alive]:
            worker.kill(reason)
        self._check_ended()

    def _check_ended(self) -> None:
        if self._closing is not None and not (self._alive or self._waiting or self._starts):
            if self._program is not None:
                self._program.cancel()
            for timer in (self._overdue, self._held):
                if timer is not None:
                    timer.cancel()
            self._ended.set()
