"""One worker: its requests and tasks, what its process says about them, and what its pool may ask of it."""

import asyncio
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import lifecycle
from outlast.core.errors import OutlastError
from outlast.core.language import Language
from outlast.core.lifecycle import State
from outlast.core.limits import Usage, Verdict
from outlast.core.outcome import EndReason, TaskOutcome, UnloadReason
from outlast.core.policy import OneshotBackground, Policy
from outlast.supervisor.ending import End
from outlast.supervisor.enforcer import Enforcer
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.journal import Journal
from outlast.supervisor.lifecycle import STANDBY_PING, Lifecycle
from outlast.supervisor.process import KEPT_ERROR_CHARS, KEPT_ERROR_LINES
from outlast.supervisor.register import Moment
from outlast.supervisor.resources import Program, Resources
from outlast.supervisor.snapshot import WorkerSnapshot
from outlast.supervisor.tasks import OpenTasks
from outlast.supervisor.traffic import Traffic
from outlast.telemetry.logs import Level
from outlast.telemetry.quota import Quota
from outlast.wire import messages, sockets
from outlast.wire.messages import TaskSettled, TaskStarted

CUT_OFF_AT_ONCE = 100
"""Tasks of a worker that has ended. A worker may have any number of them, and to tell of each takes a moment."""

# In Python 3.11, an enumeration's member costs ten times as much to look up as a global name.
_RETIRED = State.RETIRED
_OUTCOMES = {outcome.value: outcome for outcome in TaskOutcome}
"""Cheaper to look up than ``TaskOutcome(value)``."""


class Owner(Protocol):
    """What a worker reports to its pool."""

    def worker_ready(self, worker: "Worker") -> None:
        """The worker takes requests now."""

    def worker_freed(self, worker: "Worker") -> None:
        """One of its requests has ended."""

    def worker_barred(self, worker: "Worker") -> None:
        """It takes no more requests. Called at least once for each worker, and at once when its process is gone."""

    def worker_stuck(self, worker: "Worker", stuck: bool) -> None:
        """Its event loop is blocked, or goes on again."""

    def worker_due(self, worker: "Worker", cause: EndReason) -> None:
        """It should retire, preferably once another worker can take its place; until then it takes requests."""

    def worker_idle(self, worker: "Worker") -> None:
        """Called now and then while it has nothing to do."""

    def worker_gone(self, worker: "Worker", end: End) -> None:
        """It has ended, and nothing is left of it."""

    def place_again(self, exchange: Exchange) -> None:
        """The request was not sent: another worker may have it."""


class Worker:
    def __init__(
        self,
        execution_id: str,
        function: FunctionSettings,
        *,
        program: Program,
        generation: int,
        policy: Policy,
        folder: Path,
        owner: Owner,
        resources: Resources,
        quota: Quota,
    ) -> None:
        self.execution_id = execution_id
        self.generation = generation
        """Which state of the function's files it was started for."""
        self.requests = 0
        """How many it has now."""
        self._tasks = OpenTasks()
        self._function = function
        self._is_per_request = policy is Policy.PER_REQUEST
        self._cuts_tasks = policy is Policy.ONESHOT and function.oneshot_background is OneshotBackground.CUT
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._resources = resources
        self._pressure = resources.log.pressure
        self._journal = Journal(resources.log, resources.register, function, execution_id, quota)
        self._traffic = Traffic(execution_id, self, function.limits.request_idle_ms / 1000)
        self._enforcer = Enforcer(
            resources.meter, self, function.limits, has_family=function.language is Language.PYTHON
        )
        self._lifecycle = Lifecycle(self, self._journal, execution_id, function, program, folder)
        self._held_back: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        """What it wrote to standard error before it was ready."""

    async def live(self) -> None:
        """Runs its process from start to end. Never raises: an error becomes its boot error."""
        await self._lifecycle.run(self._resources.spawn)

    # How it is.

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def is_wanted(self) -> bool:
        """Whether it has evaluated the function's code, or will as soon as it can."""
        return self._lifecycle.is_wanted

    @property
    def was_ready(self) -> bool:
        return self._lifecycle.was_ready

    @property
    def is_coming_up(self) -> bool:
        """Whether it is on the way to taking requests."""
        return self.is_wanted and self.state in lifecycle.COMING_UP

    @property
    def is_standby(self) -> bool:
        """Whether it is started, or starting, but not wanted yet."""
        return not self.is_wanted and self.state in lifecycle.COMING_UP

    @property
    def has_spare_time(self) -> bool:
        """Whether its event loop had time to spare when last looked at."""
        return not self._enforcer.metering.is_busy

    @property
    def quick(self) -> int:
        """See `outlast.core.balance.Worker`."""
        return self._enforcer.metering.quick

    def is_running(self) -> bool:
        """Whether its event loop is at work at this moment."""
        return self._enforcer.metering.is_running()

    @property
    def cpu_ms(self) -> float:
        """CPU time of its process, up to this moment."""
        return self._enforcer.metering.cpu_ms

    @property
    def open_tasks(self) -> int:
        """How many it has."""
        return len(self._tasks)

    @property
    def is_working(self) -> bool:
        """Whether it has a request or an open task."""
        return self.requests > 0 or self.open_tasks > 0

    @property
    def requests_begun(self) -> int:
        """How many it has had in its life."""
        return self._traffic.begun

    @property
    def signs_of_life(self) -> int:
        """A count that grows whenever its event loop is known to have done something."""
        return self._traffic.signs_of_life + self._lifecycle.channel.received

    @property
    def usage(self) -> Usage:
        return self._enforcer.metering.usage

    def snapshot(self, *, is_current: bool) -> WorkerSnapshot:
        usage, allowed = self.usage, self._function.limits
        return WorkerSnapshot(
            id=self.execution_id,
            function=self._function.name,
            language=self._function.language,
            state=self.state,
            is_current=is_current,
            is_stuck=self._enforcer.is_stuck,
            pid=self._lifecycle.process.pid,
            age_ms=self._lifecycle.age_ms,
            requests=self.requests,
            requests_begun=self.requests_begun,
            open_tasks=self.open_tasks,
            cpu_ms=round(usage.cpu_ms),
            cpu_limit_ms=allowed.cpu_hard_ms,
            memory_mb=round(usage.memory_mb),
            memory_limit_mb=allowed.memory_mb,
            wall_ms=round(usage.wall_ms),
            wall_limit_ms=allowed.wall_clock_ms,
        )

    # What its pool asks for.

    def activate(self) -> None:
        """Has it evaluate the function's code, as soon as it can."""
        self._lifecycle.activate()

    def carry(self, exchange: Exchange) -> None:
        """Sends a request to it."""
        exchange.worker = self
        self.requests = self._traffic.carry(exchange)
        metering = self._enforcer.metering
        if self._is_per_request:
            metering.restart_wall_clock()
        if metering.rests:
            metering.wake()

    def retire(self, reason: EndReason) -> None:
        """Gives it no new requests; it ends when it has finished what it has."""
        self._lifecycle.retire(reason)
        self._check_drained()

    def kill(self, reason: EndReason) -> None:
        """Kills it now; unfinished tasks are recorded as interrupted for this reason."""
        self._traffic.condemn(reason)
        self._lifecycle.kill(reason)

    async def catch_up(self) -> None:
        """Returns when everything that it has said so far is known."""
        await self._lifecycle.channel.catch_up()

    # Its life (`outlast.supervisor.lifecycle.Owner`).

    def code_begins(self, pid: int) -> None:
        self._enforcer.begin(pid)

    def admitted(self) -> None:
        for line in self._held_back:
            self._journal.noted(Level.ERROR, line)
        self._held_back.clear()
        self._enforcer.ready()
        self._journal.booted(self._lifecycle.age_ms)
        self._owner.worker_ready(self)

    def barred(self) -> None:
        self._owner.worker_barred(self)

    def is_drained(self) -> bool:
        open_tasks = self._tasks.waited_for
        return lifecycle.is_drained(requests=self.requests, open_tasks=open_tasks, cuts_tasks=self._cuts_tasks)

    async def ended(self, end: End) -> None:
        self._enforcer.end()
        self._traffic.close(end.reason, end.limit)
        now = self._loop.time()
        for count, task in enumerate(self._tasks.interrupt(), start=1):
            cause = end.of_last_words if task.is_last_word else end
            self._journal.task_cut_off(task, cause, round((now - task.started_at) * 1000))
            if count % CUT_OFF_AT_ONCE == 0:
                # Other workers have their turn, and so do those who write down what is told here.
                await asyncio.sleep(0)
        life = self._lifecycle
        if end.boot_error is not None:
            self._journal.boot_failed(end.boot_error, life.age_ms)
        self._journal.ended(end, life.age_ms, requests=self.requests_begun, is_news=life.is_wanted)
        self._owner.worker_gone(self, end)

    def _check_drained(self) -> None:
        if self._lifecycle.state is _RETIRED or self._enforcer.near is not None:
            self._loop.call_soon(self._end_if_drained)

    def _end_if_drained(self) -> None:
        if not self.is_drained():
            return
        if self.state is State.RETIRED:
            self._lifecycle.drained()
        elif self.state is State.READY and self._enforcer.near is not None:
            self._owner.worker_due(self, self._enforcer.near)

    # Its limits (`outlast.supervisor.enforcer.Owner`).

    def limit_due(self, reason: EndReason) -> None:
        self._owner.worker_due(self, reason)

    def limit_near(self, reason: EndReason) -> None:
        if self.state is State.READY:
            self.retire(reason)
        self._lifecycle.unloading.warn(UnloadReason(reason))

    def limit_reached(self, limit: Verdict) -> None:
        self._traffic.condemn(EndReason(limit.reason), limit)
        self._lifecycle.kill(EndReason(limit.reason), limit=limit)

    def may_end(self) -> None:
        self._check_drained()

    def idles(self) -> None:
        self._owner.worker_idle(self)

    def stuck(self, is_stuck: bool) -> None:
        self._owner.worker_stuck(self, is_stuck)

    # What its process reports (`outlast.supervisor.lifecycle.Owner`).

    def heard(self, said: Iterable[messages.FromWorker]) -> None:
        tasks, journal = self._tasks, self._journal
        moment, fulfilled = journal.now(), []
        try:
            for message in said:
                if type(message) is TaskStarted:
                    is_last_word = message.unloading and self._lifecycle.is_at_its_end
                    tasks.start(message, moment, journal.task_started, is_last_word=is_last_word)
                elif type(message) is TaskSettled and message.outcome == "fulfilled":
                    # Nearly all tasks are fulfilled, and cost less when handled together.
                    fulfilled.append(tasks.settle(message.task))
                else:
                    if fulfilled:
                        journal.tasks_fulfilled(fulfilled, moment)
                        fulfilled.clear()
                    self._heard(message, moment)
        finally:
            if fulfilled:
                journal.tasks_fulfilled(fulfilled, moment)
        self._check_drained()

    def _heard(self, message: messages.FromWorker, moment: Moment) -> None:
        """Handles all but the most frequent messages."""
        match message:
            case TaskSettled():
                task = self._tasks.settle(message.task)
                self._journal.task_failed(task, _OUTCOMES[message.outcome], message.error, moment)
            case messages.Logged():
                self._journal.printed(Level.named(message.level), (message.text,), message.request)
            case messages.Ready() if self.state is State.BOOTING:
                self._traffic.serve_by(self._path_of(message.socket))
                self._lifecycle.serve()
            case messages.BootFailed():
                self._lifecycle.kill(EndReason.BOOT_FAILURE, boot_error=message.error)
            case messages.Uncaught():
                self._heard_uncaught(message)
            case messages.Loop():
                self._enforcer.says_stuck(message.stuck)
            case messages.Pong():
                self._heard_pong(message)
            case messages.Unloaded():
                self._lifecycle.unloading.heard(message.reason)
        self._hold_back()

    def _heard_pong(self, message: messages.Pong) -> None:
        self._lifecycle.channel.on_pong(message)
        if message.number == STANDBY_PING:
            # So that the first request need not wait for a connection.
            self._traffic.open_ahead(self._path_of(sockets.HTTP))

    def _heard_uncaught(self, message: messages.Uncaught) -> None:
        self._lifecycle.process.last_errors.append(message.error[-KEPT_ERROR_CHARS:])
        self._journal.uncaught(message.error, message.request)
        if self.state is State.READY:
            self.retire(EndReason.UNCAUGHT)

    def printed(self, level: Level, lines: list[str]) -> None:
        if self.was_ready or level is not Level.ERROR:
            self._journal.printed(level, lines)
            self._hold_back()
        else:
            # If the worker never becomes ready, this is the reason, and is reported as that.
            self._held_back.extend(lines)

    def _hold_back(self) -> None:
        """Has it wait while the log's reader is behind."""
        if self._pressure.is_high:
            self._lifecycle.process.hold_back(self._pressure)

    def _path_of(self, socket: str) -> str:
        """Raises BrokenMessage for anything that would leave the worker's folder."""
        if socket not in (sockets.HTTP, sockets.NODE_HTTP):
            raise messages.BrokenMessage(f"a worker cannot serve on {socket!r}")
        return str(self._lifecycle.process.folder / socket)

    # What becomes of its requests (`outlast.supervisor.traffic.Owner`).

    def request_ended(self, left: int) -> None:
        self.requests = left
        self._owner.worker_freed(self)
        self._check_drained()

    def unreachable(self, exchange: Exchange, why: str) -> None:
        self._journal.noted(Level.ERROR, f"no connection to the worker: {why}", exchange.invocation.request_id)
        exchange.worker = None
        self.kill(EndReason.CRASH)
        if not exchange.ended:
            self._owner.place_again(exchange)

    def request_abandoned(self, request_id: str) -> None:
        self._lifecycle.channel.send(messages.Abandoned(request_id))

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        self._journal.noted(Level.ERROR, f"the function's response is malformed: {error}", request_id)

    def lane_failed(self, why: str) -> None:
        self._journal.noted(Level.ERROR, f"a connection to the worker failed: {why}")
