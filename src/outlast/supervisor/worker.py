"""One life of one worker process: carries out what `outlast.core.lifecycle` decides, and reports what happens to it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import lifecycle
from outlast.core.errors import OutlastError
from outlast.core.language import Language
from outlast.core.lifecycle import Action, Event, State
from outlast.core.limits import Step, Usage, Verdict
from outlast.core.outcome import EndReason, RequestEnd, TaskOutcome, UnloadReason
from outlast.core.policy import OneshotBackground, Policy
from outlast.engines.processes import Command, Exit, Process
from outlast.supervisor.channel import Channel
from outlast.supervisor.ending import Ending
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.farewell import Farewell
from outlast.supervisor.journal import Journal
from outlast.supervisor.meter import Meter, Metering
from outlast.supervisor.register import Moment, Register
from outlast.supervisor.resources import Program
from outlast.supervisor.snapshot import WorkerSnapshot
from outlast.supervisor.tasks import OpenTasks
from outlast.supervisor.traffic import Traffic
from outlast.supervisor.vessel import Vessel
from outlast.telemetry.logs import Level, Log
from outlast.telemetry.quota import Quota
from outlast.wire import messages
from outlast.wire.messages import TaskSettled, TaskStarted

EXIT_GRACE_S = 1.0
"""From being told to exit, or from the closing of the control channel, to being killed."""
YOUNG_MS = 1_000
_FAILURES = frozenset([EndReason.CRASH, EndReason.EXIT, EndReason.PROTOCOL, EndReason.MEMORY])

# In Python 3.11 to name a member of an enumeration costs ten times as much as a global name.
_RETIRED = State.RETIRED
_OUTCOMES = {outcome.value: outcome for outcome in TaskOutcome}
"""A look-up costs less than ``TaskOutcome(value)``."""


class Owner(Protocol):
    """What a worker tells its pool."""

    def worker_ready(self, worker: "Worker") -> None:
        """It takes requests now."""

    def worker_freed(self, worker: "Worker") -> None:
        """One of its requests has ended."""

    def worker_barred(self, worker: "Worker") -> None:
        """It takes no more requests. Called at least once in every life, and at once when the process is gone."""

    def worker_stuck(self, worker: "Worker", stuck: bool) -> None:
        """Its event loop stands still, or goes on again."""

    def worker_due(self, worker: "Worker", cause: EndReason) -> None:
        """It should retire. It takes requests until it is told to, as best once another one can take its place."""

    def worker_idle(self, worker: "Worker") -> None:
        """Called now and then while it has nothing to do."""

    def worker_gone(self, worker: "Worker", boot_error: str | None, died_young: bool) -> None:
        """Its life is over, nothing of it is left.

        ``boot_error``: why it never became ready. ``died_young``: it did, but failed so soon that another would, too.
        """

    def place_again(self, exchange: Exchange) -> None:
        """This one was not sent: another worker may have it."""


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
        log: Log,
        register: Register,
        meter: Meter,
        quota: Quota,
    ) -> None:
        self.execution_id = execution_id
        self.generation = generation
        """Which state of the function's files it was started for."""
        self.state = State.STARTING
        self.is_wanted = False
        """Whether it is to evaluate the function's code as soon as it can."""
        self.was_ready = False
        self.requests = 0
        """How many it has."""
        self.tasks = OpenTasks()
        self._function = function
        self._program = program
        self._is_per_request = policy is Policy.PER_REQUEST
        self._cuts_tasks = policy is Policy.ONESHOT and function.oneshot_background is OneshotBackground.CUT
        self._owner = owner
        self._pressure = log.pressure
        self._journal = Journal(log, register, function, execution_id, quota)
        self._traffic = Traffic(execution_id, self, function.limits.request_idle_ms / 1000)
        self._loop = asyncio.get_running_loop()
        self._started_at = self._ready_at = self._loop.time()
        self._channel = Channel(self._on_open, self._on_messages, self._on_broken)
        self._vessel = Vessel(folder, self._channel, self._on_output)
        self._exit = Exit(0, 0, 0)
        self._ending = Ending()
        self._meter = meter
        self._metering: Metering | None = None
        self._near: EndReason | None = None
        """The limit that is so near that it shall end as soon as it has nothing to do."""
        self._says_stuck = self._is_held_up = False
        self._farewell = Farewell(self._send_beforeunload, self._on_unloaded)
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def has_spare_time(self) -> bool:
        """Whether its event loop did not need all of the time, when last looked at."""
        return self._metering is None or not self._metering.is_busy

    @property
    def quick(self) -> int:
        """See `outlast.core.balance.Worker`."""
        return self._metering.quick if self._metering is not None else 0

    @property
    def usage(self) -> Usage:
        return self._metering.usage if self._metering is not None else Usage()

    @property
    def is_coming_up(self) -> bool:
        """Whether it is on the way to taking requests."""
        return self.is_wanted and self.state in lifecycle.COMING_UP

    @property
    def is_standby(self) -> bool:
        """Whether it could be on that way, if it were wanted."""
        return not self.is_wanted and self.state in lifecycle.COMING_UP

    @property
    def _is_stuck(self) -> bool:
        """Whether its event loop stands still, by its own account or by its CPU clock."""
        return self._says_stuck or self._is_held_up

    def is_running(self) -> bool:
        """Whether its event loop is at work at this moment."""
        return self._metering is not None and self._metering.is_running()

    def snapshot(self, *, is_current: bool) -> WorkerSnapshot:
        usage, allowed = self.usage, self._function.limits
        return WorkerSnapshot(
            id=self.execution_id,
            function=self._function.name,
            language=self._function.language,
            state=self.state,
            is_current=is_current,
            is_stuck=self._is_stuck,
            pid=self._vessel.pid,
            age_ms=self._age_ms(),
            requests=self.requests,
            requests_begun=self.requests_begun,
            open_tasks=len(self.tasks),
            cpu_ms=round(usage.cpu_ms),
            cpu_limit_ms=allowed.cpu_hard_ms,
            memory_mb=round(usage.memory_mb),
            memory_limit_mb=allowed.memory_mb,
            wall_ms=round(usage.wall_ms),
            wall_limit_ms=allowed.wall_clock_ms,
        )

    async def live(self, spawn: Callable[[Command], Awaitable[Process]]) -> None:
        """Runs one process from start to end. Never raises: what goes wrong is a boot error."""
        self._after_ms(self._function.limits.boot_timeout_ms, self._boot_overdue)
        command = self._program.command(self._vessel.folder, self.execution_id)
        try:
            self._exit = await self._vessel.run(command, spawn, self._measure)
        except (OutlastError, OSError) as error:
            self._ending.boot_error = str(error)
        finally:
            self._tell(Event.EXITED)
            await self._vessel.bury()

    # What its pool asks for.

    def activate(self) -> None:
        """Evaluate the function's code, as soon as it can."""
        self.is_wanted = True
        self._started_at = self._loop.time()
        if self.state is State.STANDBY:
            self._tell(Event.ACTIVATED)

    def carry(self, exchange: Exchange) -> None:
        """Sends a request to it."""
        exchange.worker = self
        self.requests = self._traffic.carry(exchange)
        if (metering := self._metering) is not None:
            if self._is_per_request:
                metering.restart_wall_clock()
            if metering.rests:
                metering.wake()

    def retire(self, reason: EndReason) -> None:
        """No new requests; it ends when what it has is done."""
        if self._ending.retired_for is None:
            self._ending.retired_for = reason
            if self.was_ready:
                self._journal.retired(reason)
        self._tell(Event.RETIRE)
        if self.state is State.RETIRED and reason.unload_reason is UnloadReason.TERMINATION:
            self._farewell.warn(UnloadReason.TERMINATION)
        self._check_drained()

    def kill(self, reason: EndReason) -> None:
        """Ends it now; what is unfinished is recorded as interrupted for that reason."""
        if self.state is not State.EXITED:
            if self._ending.killed_for is None:
                self._ending.killed_for = reason
            self._tell(Event.KILL)

    # Decisions, and what they ask for.

    def _tell(self, event: Event) -> None:
        self.state, actions = lifecycle.step(self.state, event)
        for action in actions:
            self._ACTIONS[action](self)

    def _boot(self) -> None:
        if not self._timers:
            self._after_ms(self._function.limits.boot_timeout_ms, self._boot_overdue)
        self._measure()
        self._channel.send(messages.Boot(function=self._function.name, entrypoint=self._function.entrypoint.as_uri()))

    def _admit(self) -> None:
        self.was_ready = True
        self._ready_at = self._loop.time()
        for line in self._vessel.last_errors:
            self._journal.noted(Level.ERROR, line)
        self._cancel_timers()
        self._measure()
        if self._metering is not None:
            self._metering.ready()
        self._journal.booted(self._age_ms())
        self._owner.worker_ready(self)

    def _bar(self) -> None:
        self._owner.worker_barred(self)

    def _unload(self) -> None:
        assert self._ending.retired_for is not None
        reason = self._ending.retired_for.unload_reason
        if len(self.tasks):
            reason = UnloadReason.TERMINATION
        self._after_ms(self._function.limits.unload_grace_ms, self._farewell.wait_no_longer)
        self._farewell.wait_for(reason)

    def _send_beforeunload(self, reason: UnloadReason) -> None:
        self._journal.warned(reason)
        self._channel.send(messages.BeforeUnload(reason))

    def _on_unloaded(self) -> None:
        if self.state is State.UNLOADING:
            self._tell(Event.UNLOADED)

    def _ask_to_exit(self) -> None:
        self._cancel_timers()
        self._ending.asked_to_exit = True
        self._channel.send(messages.Exit())
        self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, self._ending.cause))

    def _kill_process(self) -> None:
        self._cancel_timers()
        self._vessel.kill()

    def _bury(self) -> None:
        self._cancel_timers()
        if self._metering is not None:
            self._metering.close()
        errors = "\n".join(self._vessel.last_errors)
        end = self._ending.conclude(
            self._exit,
            was_ready=self.was_ready,
            limits=self._function.limits,
            reached=self._program.limit_reached(self._exit, errors),
            errors=errors,
        )
        for task in self.tasks.interrupt():
            self._journal.task_cut_off(task, end, self._ms_since(task.started_at))
        if end.limit is not None:
            self._traffic.close(
                RequestEnd.WORKER_LIMIT, reason=end.reason.value, used=end.limit.used, limit=end.limit.limit
            )
        else:
            self._traffic.close(RequestEnd.WORKER_ERROR)
        if end.boot_error is not None:
            self._journal.boot_failed(end.boot_error, self._age_ms())
        self._journal.ended(end, self._age_ms(), requests=self._traffic.begun, is_news=self.is_wanted)
        died_young = self.was_ready and end.reason in _FAILURES and self._ms_since(self._ready_at) < YOUNG_MS
        self._owner.worker_gone(self, end.boot_error, died_young)

    _ACTIONS = {  # noqa: RUF012, a constant
        Action.BOOT: _boot,
        Action.ADMIT: _admit,
        Action.BAR: _bar,
        Action.UNLOAD: _unload,
        Action.EXIT: _ask_to_exit,
        Action.KILL: _kill_process,
        Action.BURY: _bury,
    }

    def _check_drained(self) -> None:
        if self.state is _RETIRED or self._near is not None:
            # A response and the news of a task that outlasts it come on two sockets: one turn of the loop reads both.
            self._loop.call_soon(self._end_if_drained)

    def _end_if_drained(self) -> None:
        if not lifecycle.is_drained(
            requests=self.requests, open_tasks=self.tasks.waited_for, cuts_tasks=self._cuts_tasks
        ):
            return
        if self.state is State.RETIRED:
            self._tell(Event.DRAINED)
        elif self.state is State.READY and self._near is not None:
            self._owner.worker_due(self, self._near)

    # What it uses (`outlast.supervisor.meter.Metered`).

    def _measure(self) -> None:
        if self._metering is None and self._vessel.pid is not None and self.is_wanted:
            has_family = self._function.language is Language.PYTHON
            self._metering = Metering(self._meter, self, self._vessel.pid, self._function.limits, has_family=has_family)

    @property
    def requests_begun(self) -> int:
        return self._traffic.begun

    @property
    def signs_of_life(self) -> int:
        return self._traffic.signs_of_life + self._channel.received

    @property
    def is_working(self) -> bool:
        return self.requests > 0 or len(self.tasks) > 0

    def measured(self, usage: Usage, verdicts: list[Verdict]) -> None:
        self._near = None
        for verdict in verdicts:
            reason = EndReason(verdict.reason)
            if verdict.step is Step.KILL:
                if self._ending.killed_for is None:
                    self._ending.limit = verdict
                    self.kill(reason)
            elif self.was_ready:
                self._near = reason
                if verdict.step is Step.WARN:
                    self._leave(reason)
                elif verdict.step is Step.RETIRE and self.state is State.READY:
                    self._owner.worker_due(self, reason)
        if self._near is not None:
            self._check_drained()
        elif self.state is State.READY and not self.is_working:
            self._owner.worker_idle(self)

    def _leave(self, reason: EndReason) -> None:
        """The limit is near: there is no time to wait for another worker."""
        if self.state is State.READY:
            self.retire(reason)
        if self.state in (State.RETIRED, State.UNLOADING):
            self._farewell.warn(UnloadReason(reason))

    def held_up(self, held_up: bool) -> None:
        self._is_held_up = held_up
        self._owner.worker_stuck(self, self._is_stuck)

    # What the process does.

    async def catch_up(self) -> None:
        """Returns when all that it had to say by now is known."""
        await self._channel.catch_up()

    def _on_open(self) -> None:
        if self.state is not State.STARTING:
            # It has been killed meanwhile.
            return
        self._tell(Event.CONNECTED)
        self._channel.closed.add_done_callback(self._on_channel_closed)
        if self.is_wanted:
            self._tell(Event.ACTIVATED)
        else:
            self._cancel_timers()
            # One of Deno gets warm before it answers.
            self._channel.send(messages.Ping(0))

    def _on_channel_closed(self, _: object) -> None:
        # A worker that cannot be heard cannot be looked after. Usually its process is about to be gone.
        if self.state is not State.EXITED:
            self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, EndReason.PROTOCOL))

    def _on_broken(self, error: OutlastError) -> None:
        self._journal.uncaught(f"the worker broke its control channel: {error}")
        self.kill(EndReason.PROTOCOL)

    def _on_messages(self, said: Iterable[messages.FromWorker]) -> None:
        tasks, journal = self.tasks, self._journal
        moment, fulfilled = journal.now(), []
        try:
            for message in said:
                if type(message) is TaskStarted:
                    is_last_word = message.unloading and self._farewell.was_told(UnloadReason.TERMINATION)
                    tasks.start(message, moment, journal.task_started, is_last_word=is_last_word)
                elif type(message) is TaskSettled and message.outcome == "fulfilled":
                    # Nearly all are, and together they cost less.
                    fulfilled.append(tasks.settle(message.task))
                else:
                    if fulfilled:
                        journal.tasks_fulfilled(fulfilled, moment)
                        fulfilled.clear()
                    self._on_message(message, moment)
        finally:
            if fulfilled:
                journal.tasks_fulfilled(fulfilled, moment)
        self._check_drained()

    def _on_message(self, message: messages.FromWorker, moment: Moment) -> None:
        """Of any but those that are the most frequent."""
        match message:
            case TaskSettled():
                task = self.tasks.settle(message.task)
                self._journal.task_failed(task, _OUTCOMES[message.outcome], message.error, moment)
            case messages.Logged():
                self._print(Level.named(message.level), message.text, message.request)
            case messages.Ready() if self.state is State.BOOTING:
                self._traffic.socket = str(self._vessel.folder / _socket_name(message.socket))
                self._tell(Event.SERVING)
            case messages.BootFailed():
                self._ending.boot_error = message.error
                self.kill(EndReason.BOOT_FAILURE)
            case messages.Uncaught():
                self._on_uncaught(message)
            case messages.Loop():
                self._says_stuck = message.stuck
                self._owner.worker_stuck(self, self._is_stuck)
            case messages.Pong():
                self._channel.on_pong(message)
            case messages.Unloaded():
                self._farewell.heard(message.reason)

    def _on_uncaught(self, message: messages.Uncaught) -> None:
        self._vessel.last_errors.append(message.error)
        self._journal.uncaught(message.error, message.request)
        if self.state is State.READY:
            self.retire(EndReason.UNCAUGHT)

    def _on_output(self, level: Level, line: str) -> None:
        # Of one that does not become ready, this is the reason: it is told with that.
        if self.was_ready or level is not Level.ERROR:
            self._print(level, line)

    def _print(self, level: Level, text: str, request_id: str = "") -> None:
        self._journal.printed(level, text, request_id)
        if self._pressure.is_high:
            self._vessel.hold_back(self._pressure)

    def _boot_overdue(self) -> None:
        self._ending.boot_error = (
            f"the function did not start to serve within {self._function.limits.boot_timeout_ms} ms "
            "(boot_timeout_ms in outlast.toml)"
        )
        self.kill(EndReason.BOOT_FAILURE)

    # What becomes of its requests (`outlast.supervisor.traffic.Owner`).

    def request_ended(self, left: int) -> None:
        self.requests = left
        self._owner.worker_freed(self)
        self._check_drained()

    def unreachable(self, exchange: Exchange) -> None:
        exchange.worker = None
        self.kill(EndReason.CRASH)
        if not exchange.ended:
            self._owner.place_again(exchange)

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        self._journal.noted(Level.ERROR, f"the function's response is malformed: {error}", request_id)

    # Small things.

    def _age_ms(self) -> int:
        return self._ms_since(self._started_at)

    def _ms_since(self, moment: float) -> int:
        return round((self._loop.time() - moment) * 1000)

    def _after_ms(self, delay_ms: float, callback: Callable[[], object]) -> None:
        if delay_ms:
            self._timers.append(self._loop.call_later(delay_ms / 1000, callback))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _socket_name(name: str) -> str:
    """Raises BrokenMessage for anything that would leave the worker's folder."""
    if name not in ("http.sock", "node.sock"):
        raise messages.BrokenMessage(f"a worker cannot serve on {name!r}")
    return name
