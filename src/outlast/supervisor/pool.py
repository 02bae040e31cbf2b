"""The workers of one function, and the requests that wait for them."""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import balance, ids
from outlast.core.balance import Place
from outlast.core.errors import OutlastError
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

    engine: Engine
    spawn: Callable[[Command], Awaitable[Process]]
    folder: Path
    """For the workers' own folders. Short, as the paths of unix sockets are (unix(7): 108 bytes)."""
    log: Log
    on_prepared: Callable[[], None]
    """Called when it is known what a function imports."""


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
        self._alive: dict[Worker, asyncio.Task[None]] = {}
        self._starting = 0
        """Workers on their way to being ready, from the preparation of their program on."""
        self._preparing: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()
        self._overdue: asyncio.TimerHandle | None = None
        self._program: asyncio.Task[Program] | None = None
        self._closing: EndReason | None = None
        self._ended = asyncio.Event()

    @property
    def verify_jwt(self) -> bool:
        return self.function.verify_jwt

    @property
    def workers(self) -> list[Worker]:
        return [*self._alive]

    # Requests.

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        """Takes over a request. ``body``: what has come of it; ``complete``: that this is all."""
        exchange = Exchange(self, invocation, reply, body, complete, self.generation)
        self._place(exchange)
        return exchange

    def _place(self, exchange: Exchange) -> None:
        index = balance.choose([worker.requests for worker in self._ready], self._capacity)
        if index is not None:
            self._assign(exchange, self._ready[index])
            return
        place = self._find_place(len(self._waiting))
        if place is Place.REFUSE:
            exchange.fail(RequestEnd.WORKER_BUSY, retry_after_s=RETRY_AFTER_S)
            return
        if place is Place.START:
            self._start()
        exchange.waits_since = self._loop.time()
        self._waiting.append(exchange)
        if self._overdue is None:
            self._overdue = self._loop.call_later(MAX_WAIT_S, self._give_up_overdue)

    def _find_place(self, waiting: int) -> Place:
        alive = self._starting + len(self._ready)
        if self._policy is Policy.ONESHOT:
            # Those that have had their one request count until they are gone: each is a whole process.
            alive += sum(worker.state in (State.RETIRED, State.UNLOADING) for worker in self._alive)
        return balance.place(self._capacity, alive=alive, starting=self._starting, waiting=waiting)

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

    def _serve_waiting(self) -> None:
        """Gives what waits to what is ready, oldest first."""
        passed: deque[Exchange] = deque()
        while self._waiting and self._ready:
            exchange = self._waiting.popleft()
            fit = [worker for worker in self._ready if worker.generation >= exchange.generation]
            index = balance.choose([worker.requests for worker in fit], self._capacity)
            if index is None:
                passed.append(exchange)
                if not fit:
                    continue
                break
            self._assign(exchange, fit[index])
        self._waiting.extendleft(reversed(passed))
        while self._waiting and self._find_place(len(self._waiting) - 1) is Place.START:
            self._start()

    def _give_up_overdue(self) -> None:
        self._overdue = None
        now = self._loop.time()
        end = RequestEnd.WORKER_BUSY if self._ready else RequestEnd.BOOT_ERROR
        while self._waiting and self._waiting[0].waits_since + MAX_WAIT_S <= now:
            self._waiting.popleft().fail(end, retry_after_s=RETRY_AFTER_S)
        if self._waiting:
            remaining = self._waiting[0].waits_since + MAX_WAIT_S - now
            self._overdue = self._loop.call_later(remaining, self._give_up_overdue)

    def _boot_failed(self, generation: int) -> None:
        """Code of that generation does not boot, so whoever would have been content with it need not wait."""
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            if exchange.generation <= generation:
                exchange.fail(RequestEnd.BOOT_ERROR)
            else:
                self._waiting.append(exchange)
        self._serve_waiting()

    # Workers.

    def prepare(self) -> asyncio.Task[Program]:
        """Fetches what the function needs, ahead of the first request. Done once for each state of its files."""
        if self._program is None or (self._program.done() and self._program.exception() is not None):
            self._program = self._loop.create_task(self._resources.engine.prepare(self.function))
            self._program.add_done_callback(functools.partial(self._prepared, self.generation))
        return self._program

    def _prepared(self, generation: int, program: asyncio.Task[Program]) -> None:
        if program.cancelled():
            return
        self._resources.on_prepared()
        error = program.exception()
        if error is not None and generation == self.generation:
            self._resources.log.emit("boot_failure", level=Level.ERROR, function=self.function.name, msg=str(error))

    def _start(self) -> None:
        self._starting += 1
        start = self._loop.create_task(self._bring_up())
        self._preparing.add(start)
        start.add_done_callback(self._preparing.discard)

    async def _bring_up(self) -> None:
        generation = self.generation
        try:
            program = await asyncio.shield(self.prepare())
        except BaseException as error:
            self._starting -= 1
            self._boot_failed(generation)
            self._check_ended()
            if isinstance(error, OutlastError):
                return
            raise
        execution_id = ids.uuid7(time.time_ns() // 1_000_000, _random.getrandbits(74))
        worker = Worker(
            execution_id,
            self.function,
            generation=generation,
            cuts_tasks=self._policy is Policy.ONESHOT and self.function.oneshot_background is OneshotBackground.CUT,
            folder=self._resources.folder / execution_id[-12:],
            owner=self,
            log=self._resources.log,
        )
        self._alive[worker] = self._loop.create_task(worker.live(program.command, self._resources.spawn))

    # What its workers tell (`outlast.supervisor.worker.Owner`).

    def worker_ready(self, worker: Worker) -> None:
        self._starting -= 1
        self._ready.append(worker)
        self._serve_waiting()
        if self._closing is not None:
            self._retire(worker, self._closing)
        elif worker.generation < self.generation:
            self._retire(worker, EndReason.RELOAD)
            self._serve_waiting()

    def worker_freed(self, worker: Worker) -> None:
        if self._waiting:
            self._serve_waiting()

    def worker_barred(self, worker: Worker) -> None:
        if worker in self._ready:
            self._ready.remove(worker)

    def worker_gone(self, worker: Worker, boot_error: str | None) -> None:
        life = self._alive.pop(worker)
        life.add_done_callback(lambda _: self._check_ended())
        if not worker.was_ready:
            self._starting -= 1
        if boot_error is not None:
            self._boot_failed(worker.generation)
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
        self.function = function
        self.generation += 1
        self._program = None
        for worker in [*self._ready]:
            worker.retire(EndReason.RELOAD)
        self.prepare()
        self._serve_waiting()

    def close(self, reason: EndReason) -> None:
        """No more requests will come. Workers end when they have nothing left to do."""
        self._closing = reason
        for worker in [*self._alive]:
            self._retire(worker, reason)
        self._check_ended()

    async def wait_ended(self) -> None:
        """Until the last worker is gone, after `close`."""
        await self._ended.wait()

    def kill(self, reason: EndReason) -> None:
        """Ends all that is left, at once."""
        for exchange in self._waiting:
            exchange.fail(RequestEnd.BOOT_ERROR)
        self._waiting.clear()
        for start in [*self._preparing]:
            start.cancel()
        for worker in [*self._alive]:
            worker.kill(reason)
        self._check_ended()

    def _check_ended(self) -> None:
        if self._closing is not None and not (self._alive or self._waiting or self._starting):
            if self._program is not None:
                self._program.cancel()
            if self._overdue is not None:
                self._overdue.cancel()
            self._ended.set()
