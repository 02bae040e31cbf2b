"""One life of one worker process: carries out what `outlast.core.lifecycle` decides, and reports what happens to it."""

import asyncio
import functools
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import lifecycle
from outlast.core.errors import OutlastError
from outlast.core.lifecycle import Action, Event, State
from outlast.core.outcome import EndReason, TaskOutcome, UnloadReason
from outlast.engines.processes import Command, Exit, Process
from outlast.supervisor.channel import Channel, Output
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.journal import Journal
from outlast.supervisor.tasks import OpenTasks
from outlast.supervisor.traffic import Traffic
from outlast.telemetry.logs import Level, Log
from outlast.wire import messages

EXIT_GRACE_S = 1.0
"""From being told to exit, or from the closing of the control channel, to being killed."""
LAST_WORDS_S = 1.0
"""How long what a dead worker has said is waited for, should a stranger hold its pipes open."""
BOOT_OUTPUT_LINES = 200


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

    def worker_gone(self, worker: "Worker", boot_error: str | None) -> None:
        """Its life is over, nothing of it is left. ``boot_error``: why it never became ready."""

    def place_again(self, exchange: Exchange) -> None:
        """This one was not sent: another worker may have it."""


class Worker:
    def __init__(
        self,
        execution_id: str,
        function: FunctionSettings,
        *,
        generation: int,
        cuts_tasks: bool,
        folder: Path,
        owner: Owner,
        log: Log,
    ) -> None:
        self.execution_id = execution_id
        self.generation = generation
        """Which state of the function's files it was started for."""
        self.state = State.STARTING
        self.was_ready = False
        self.tasks = OpenTasks()
        self._function = function
        self._cuts_tasks = cuts_tasks
        self._folder = folder
        self._owner = owner
        self._journal = Journal(log, function.name, execution_id)
        self._traffic = Traffic(execution_id, self, function.limits.request_idle_ms / 1000)
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._process: Process | None = None
        self._exit: Exit | None = None
        self._channel = Channel(self._on_open, self._on_message, self._on_broken)
        self._outputs: list[Output] = []
        self._boot_output: list[str] | None = []
        self._boot_error: str | None = None
        self._retired_for: EndReason | None = None
        self._killed_for: EndReason | None = None
        self._asked_to_exit = False
        self._heard: dict[UnloadReason, bool] = {}
        """The reasons that `beforeunload` was sent with, and whether its listeners are done."""
        self._final_reason: UnloadReason | None = None
        """The one that the end waits for."""
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def requests(self) -> int:
        """How many it has."""
        return len(self._traffic)

    # The life, from the process to the grave.

    async def live(
        self,
        command: Callable[[Path, str], Command],
        spawn: Callable[[Command], Awaitable[Process]],
    ) -> None:
        """Runs one process from start to end. Never raises: what goes wrong is a boot error.

        ``command`` says what to run in the given folder under the given execution id.
        """
        control: asyncio.Server | None = None
        try:
            self._after_ms(self._function.limits.boot_timeout_ms, self._boot_overdue)
            (self._folder / "tmp").mkdir(mode=0o700, parents=True)
            control = await self._loop.create_unix_server(self._channel.protocol, self._folder / "control.sock")
            self._process = await spawn(command(self._folder, self.execution_id))
            self._outputs = [
                await Output.read(self._process.stdout, functools.partial(self._on_output, Level.INFO)),
                await Output.read(self._process.stderr, functools.partial(self._on_output, Level.ERROR)),
            ]
            if self._killed_for is not None:
                self._process.kill()
            self._exit = await self._process.exited
            await self._last_words()
        except (OutlastError, OSError) as error:
            self._boot_error = str(error)
        finally:
            if control is not None:
                control.close()
            if self._process is not None:
                # Already done, unless it was something here that failed.
                self._process.kill()
            self._tell(Event.EXITED)
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _last_words(self) -> None:
        """What was written before the end is in the sockets still."""
        pending = [output.closed for output in self._outputs]
        if self._channel.is_open:
            pending.append(self._channel.closed)
        await asyncio.wait(pending, timeout=LAST_WORDS_S)
        for output in self._outputs:
            output.close()
        self._channel.close()

    # What its pool asks for.

    def activate(self) -> None:
        """Evaluate the function's code."""
        self._tell(Event.ACTIVATED)

    def carry(self, exchange: Exchange) -> None:
        """Sends a request to it."""
        exchange.worker = self
        self._traffic.carry(exchange)

    def retire(self, reason: EndReason) -> None:
        """No new requests; it ends when what it has is done."""
        if self._retired_for is None:
            self._retired_for = reason
            self._journal.retired(reason)
        self._tell(Event.RETIRE)
        if self.state is State.RETIRED and reason.unload_reason is UnloadReason.TERMINATION:
            self._warn(UnloadReason.TERMINATION)
        self._check_drained()

    def kill(self, reason: EndReason) -> None:
        """Ends it now; what is unfinished is recorded as interrupted for that reason."""
        if self.state is not State.EXITED:
            if self._killed_for is None:
                self._killed_for = reason
            self._tell(Event.KILL)

    # Decisions, and what they ask for.

    def _tell(self, event: Event) -> None:
        self.state, actions = lifecycle.step(self.state, event)
        for action in actions:
            self._ACTIONS[action](self)

    def _boot(self) -> None:
        self._channel.send(messages.Boot(function=self._function.name, entrypoint=self._function.entrypoint.as_uri()))

    def _admit(self) -> None:
        self.was_ready = True
        output, self._boot_output = self._boot_output, None
        for line in output or ():
            self._on_output(Level.ERROR, line)
        self._cancel_timers()
        self._journal.booted(self._age_ms())
        self._owner.worker_ready(self)

    def _bar(self) -> None:
        self._owner.worker_barred(self)

    def _unload(self) -> None:
        assert self._retired_for is not None
        reason = self._retired_for.unload_reason
        if len(self.tasks):
            reason = UnloadReason.TERMINATION
        self._warn(reason)
        if self._heard[reason]:
            self._tell(Event.UNLOADED)
        else:
            self._final_reason = reason
            self._after_ms(self._function.limits.unload_grace_ms, self._unload_overdue)

    def _warn(self, reason: UnloadReason) -> None:
        if reason not in self._heard:
            self._heard[reason] = False
            self._journal.warned(reason)
            self._channel.send(messages.BeforeUnload(reason))

    def _ask_to_exit(self) -> None:
        self._cancel_timers()
        self._asked_to_exit = True
        self._channel.send(messages.Exit())
        self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, self._retired_for or EndReason.TERMINATION))

    def _kill_process(self) -> None:
        self._cancel_timers()
        if self._process is not None:
            self._process.kill()

    def _bury(self) -> None:
        self._cancel_timers()
        reason = self._end_reason()
        for task in self.tasks.interrupt():
            self._journal.task_cut_off(task, reason, self._ms_since(task.started_at))
        self._traffic.close()
        used = self._exit or Exit(0, 0, 0)
        if not self.was_ready:
            self._boot_error = self._boot_error or self._describe_boot_failure(used)
            if reason in (EndReason.BOOT_FAILURE, EndReason.PROTOCOL):
                self._journal.boot_failed(self._boot_error, self._age_ms())
            else:
                self._boot_error = None
        self._journal.ended(reason, used, self._age_ms())
        self._owner.worker_gone(self, self._boot_error)

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
        if self.state is State.RETIRED:
            # A response and the news of a task that outlasts it come on two sockets: one turn of the loop reads both.
            self._loop.call_soon(self._end_if_drained)

    def _end_if_drained(self) -> None:
        if self.state is State.RETIRED and lifecycle.is_drained(
            requests=self.requests, open_tasks=len(self.tasks), cuts_tasks=self._cuts_tasks
        ):
            self._tell(Event.DRAINED)

    def _end_reason(self) -> EndReason:
        if self._killed_for is not None:
            return self._killed_for
        if not self.was_ready:
            return EndReason.BOOT_FAILURE
        if self._asked_to_exit:
            return self._retired_for or EndReason.TERMINATION
        return EndReason.EXIT if self._exit is not None and self._exit.regular else EndReason.CRASH

    def _describe_boot_failure(self, used: Exit) -> str:
        said = "\n".join(self._boot_output or ()).strip()
        return said or f"the worker ended before it served anything ({used.words})"

    # What the process does.

    def _on_open(self) -> None:
        if self.state is not State.STARTING:
            # It has been killed meanwhile.
            return
        self._tell(Event.CONNECTED)
        self._channel.closed.add_done_callback(self._on_channel_closed)
        self.activate()

    def _on_channel_closed(self, _: object) -> None:
        # A worker that cannot be heard cannot be looked after. Usually its process is about to be gone.
        if self.state is not State.EXITED:
            self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, EndReason.PROTOCOL))

    def _on_broken(self, error: OutlastError) -> None:
        self._journal.uncaught(f"the worker broke its control channel: {error}")
        self.kill(EndReason.PROTOCOL)

    def _on_message(self, message: messages.FromWorker) -> None:
        match message:
            case messages.TaskStarted():
                self.tasks.start(message, self._loop.time())
            case messages.TaskSettled():
                task = self.tasks.settle(message.task)
                ms = self._ms_since(task.started_at)
                self._journal.task_settled(task, _OUTCOMES[message.outcome], message.error, ms)
                self._check_drained()
            case messages.Logged():
                self._journal.printed(Level.named(message.level), message.text, message.request)
            case messages.Ready() if self.state is State.BOOTING:
                self._traffic.socket = str(self._folder / _socket_name(message.socket))
                self._tell(Event.SERVING)
            case messages.BootFailed():
                self._boot_error = message.error
                self.kill(EndReason.BOOT_FAILURE)
            case messages.Uncaught():
                self._journal.uncaught(message.error, message.request)
                self._retire_after_error()
            case messages.Loop():
                self._owner.worker_stuck(self, message.stuck)
            case messages.Unloaded():
                self._heard[message.reason] = True
                if message.reason == self._final_reason:
                    self._unload_overdue()

    def _retire_after_error(self) -> None:
        if self.state is State.READY:
            self.retire(EndReason.UNCAUGHT)

    def _on_output(self, level: Level, line: str) -> None:
        if self._boot_output is not None and level is Level.ERROR:
            self._boot_output.append(line)
            del self._boot_output[:-BOOT_OUTPUT_LINES]
        else:
            self._journal.printed(level, line)

    def _unload_overdue(self) -> None:
        if self.state is State.UNLOADING and self._final_reason is not None:
            self._final_reason = None
            self._tell(Event.UNLOADED)

    def _boot_overdue(self) -> None:
        self._boot_error = (
            f"the function did not start to serve within {self._function.limits.boot_timeout_ms} ms "
            "(boot_timeout_ms in outlast.toml)"
        )
        self.kill(EndReason.BOOT_FAILURE)

    # What becomes of its requests (`outlast.supervisor.traffic.Owner`).

    def request_ended(self) -> None:
        self._owner.worker_freed(self)
        self._check_drained()

    def unreachable(self, exchange: Exchange) -> None:
        exchange.worker = None
        self.kill(EndReason.CRASH)
        if not exchange.ended:
            self._owner.place_again(exchange)

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        self._journal.printed(Level.ERROR, f"the function's response is malformed: {error}", request_id)

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
