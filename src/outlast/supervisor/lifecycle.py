"""The life of one worker process: carries out what `outlast.core.lifecycle` decides, and tells it what happens."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core import lifecycle
from outlast.core.errors import OutlastError
from outlast.core.lifecycle import Action, Event, State
from outlast.core.limits import Verdict
from outlast.core.outcome import EndReason, UnloadReason
from outlast.engines.processes import Command, Exit, Process
from outlast.supervisor.channel import Channel
from outlast.supervisor.ending import End, Ending
from outlast.supervisor.journal import Journal
from outlast.supervisor.process import WorkerProcess
from outlast.supervisor.resources import Program
from outlast.supervisor.unloading import Unloading
from outlast.telemetry.logs import Level
from outlast.wire import messages
from outlast.wire.idle import LATE_S

STANDBY_PING = 0
"""The number of the ping that a worker going on standby answers once it is prepared."""
EXIT_GRACE_S = 1.0
"""From being told to exit, or from the closing of its control channel, until it is killed."""


class Owner(Protocol):
    """The worker whose life it is."""

    def heard(self, said: Iterable[messages.FromWorker]) -> None:
        """The process sent these messages, all at one moment. Raises OutlastError at one that is not allowed."""

    def printed(self, level: Level, lines: list[str]) -> None: ...

    def code_begins(self, pid: int) -> None:
        """The function's code is about to be evaluated in this process. May be called more than once."""

    def admitted(self) -> None:
        """The worker takes requests now."""

    def barred(self) -> None:
        """It takes no more requests. Called at least once for each worker, and at once when its process is gone."""

    def is_drained(self) -> bool:
        """Whether it has nothing left that it must finish."""

    @property
    def open_tasks(self) -> int:
        """How many it has."""

    async def ended(self, end: End) -> None:
        """It has ended, and nothing is left of it but its folder."""


class Lifecycle:
    def __init__(
        self,
        owner: Owner,
        journal: Journal,
        execution_id: str,
        function: FunctionSettings,
        program: Program,
        folder: Path,
    ) -> None:
        self.state = State.STARTING
        self.is_wanted = False
        """Whether it should evaluate the function's code as soon as it can."""
        self.was_ready = False
        self._owner = owner
        self._journal = journal
        self._execution_id = execution_id
        self._program = program
        self._function = function
        self._limits = function.limits
        self._loop = asyncio.get_running_loop()
        self._started_at = self._ready_at = self._loop.time()
        self.channel = Channel(self._on_open, owner.heard, self._on_broken)
        self.process = WorkerProcess(folder, self.channel, owner.printed)
        self.unloading = Unloading(self._send_beforeunload, self._on_unloaded)
        self._exit = Exit(0, 0, 0)
        self._ending = Ending()
        self._end: End
        self._timers: list[asyncio.TimerHandle] = []
        self._inquiry: asyncio.Task[None] | None = None
        """Whether it has more to say."""

    async def run(self, spawn: Callable[[Command], Awaitable[Process]]) -> None:
        """Runs the process from start to end. Never raises: an error becomes the boot error."""
        self._after_ms(self._limits.boot_timeout_ms, self._boot_overdue)
        try:
            command = self._program.command(self.process.folder, self._execution_id)
            self._exit = await self.process.run(command, spawn, self._check_code_begins)
        except (OutlastError, OSError) as error:
            self._ending.boot_error = str(error)
        finally:
            if self._has_left():
                self._ending.asked_to_exit = True
            self._tell(Event.EXITED)
            await self._owner.ended(self._end)
            await self.process.bury()

    @property
    def age_ms(self) -> int:
        """Since it was wanted; before that, since its process was started."""
        return self._ms_since(self._started_at)

    @property
    def is_at_its_end(self) -> bool:
        """Whether what its `beforeunload` listeners start now has their grace, and no more."""
        return self.state is State.UNLOADING or self.unloading.was_told(UnloadReason.TERMINATION)

    # What others may ask of it.

    def activate(self) -> None:
        """Has it evaluate the function's code, as soon as it can."""
        self.is_wanted = True
        self._started_at = self._loop.time()
        if self.state is State.STANDBY:
            self._tell(Event.ACTIVATED)

    def serve(self) -> None:
        """It has said that its code is evaluated."""
        self._tell(Event.SERVING)

    def retire(self, reason: EndReason) -> None:
        """Gives it no new requests; it ends once `drained` is called."""
        if self._ending.retired_for is None:
            self._ending.retired_for = reason
            if self.was_ready:
                self._journal.retired(reason)
        self._tell(Event.RETIRE)
        if self.state is State.RETIRED and reason.unload_reason is UnloadReason.TERMINATION:
            self.unloading.warn(UnloadReason.TERMINATION)

    def drained(self) -> None:
        """A retired worker has finished all that it must, as far as is known: it is asked whether that is all."""
        if self._inquiry is None:
            self._inquiry = asyncio.create_task(self._end_once_heard_out())

    def kill(self, reason: EndReason, *, limit: Verdict | None = None, boot_error: str | None = None) -> None:
        """Kills it now. The first reason given counts, with the ``limit`` that was reached."""
        if boot_error is not None:
            self._ending.boot_error = boot_error
        if self.state is not State.EXITED:
            if self._ending.killed_for is None and not self.process.is_over:
                self._ending.killed_for = reason
                self._ending.limit = limit
            self._tell(Event.KILL)

    # Decisions, and what they ask for.

    def _tell(self, event: Event) -> None:
        self.state, actions = lifecycle.step(self.state, event)
        for action in actions:
            self._ACTIONS[action](self)

    def _boot(self) -> None:
        if not self._timers:
            self._after_ms(self._limits.boot_timeout_ms, self._boot_overdue)
        function = self._function
        self.channel.send(messages.Boot(function=function.name, entrypoint=function.entrypoint.as_uri()))
        # While it loads the code, there is time for this.
        self._check_code_begins()

    def _admit(self) -> None:
        self.was_ready = True
        self._ready_at = self._loop.time()
        self._cancel_timers()
        self._owner.admitted()

    def _bar(self) -> None:
        self._owner.barred()

    async def _end_once_heard_out(self) -> None:
        # A response can overtake the news of a task that outlasts it, and a client that leaves does.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.unload_grace_ms / 1000 or None):
                await self.channel.catch_up(no_clients=True)
        self._inquiry = None
        if self.state is State.RETIRED and self._owner.is_drained() and not self.process.is_over:
            self._tell(Event.DRAINED)

    def _unload(self) -> None:
        assert self._ending.retired_for is not None
        reason = self._ending.retired_for.unload_reason
        if self._owner.open_tasks or self.unloading.was_told(UnloadReason.TERMINATION):
            reason = UnloadReason.TERMINATION
        self._after_ms(self._limits.unload_grace_ms, self.unloading.wait_no_longer)
        self.unloading.wait_for(reason)

    def _ask_to_exit(self) -> None:
        self._cancel_timers()
        self._ending.asked_to_exit = not self.process.is_over
        self.channel.send(messages.Exit())
        self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, self._ending.cause))

    def _kill_process(self) -> None:
        self._cancel_timers()
        self.process.kill()

    def _bury(self) -> None:
        self._cancel_timers()
        if not self.is_wanted and self._ending.killed_for is None and not self._function.entrypoint.exists():
            # The function has been removed, and the node is about to notice.
            self._ending.killed_for = EndReason.RELOAD
        errors = "\n".join(self.process.last_errors)
        self._end = self._ending.conclude(
            self._exit,
            ready_ms=self._ms_since(self._ready_at) if self.was_ready else None,
            limits=self._limits,
            reached=self._program.limit_reached(self._exit, errors),
            errors=errors,
        )

    _ACTIONS = {  # noqa: RUF012, a constant
        Action.BOOT: _boot,
        Action.ADMIT: _admit,
        Action.BAR: _bar,
        Action.UNLOAD: _unload,
        Action.EXIT: _ask_to_exit,
        Action.KILL: _kill_process,
        Action.BURY: _bury,
    }

    # What happens to the process.

    def _has_left(self) -> bool:
        """Whether it has ended its process itself, as a beforeunload listener may, when it was about to be told to."""
        is_done = self._owner.is_drained() and not self._owner.open_tasks
        return self.state in (State.RETIRED, State.UNLOADING) and is_done and self._exit.code == 0

    def _check_code_begins(self) -> None:
        """Called when its process id is known, and when it is wanted: the later call counts."""
        if self.is_wanted and self.process.pid is not None:
            self._owner.code_begins(self.process.pid)

    def _on_open(self) -> None:
        if self.state is not State.STARTING:
            # It was killed in the meantime.
            return
        self._tell(Event.CONNECTED)
        self.channel.closed.add_done_callback(self._on_channel_closed)
        if self.is_wanted:
            self._tell(Event.ACTIVATED)
        else:
            self._cancel_timers()
            # A TypeScript worker warms up before it answers.
            self.channel.send(messages.Ping(STANDBY_PING))

    def _on_channel_closed(self, _: object) -> None:
        # A worker that cannot be heard cannot be looked after. Usually its process is about to be gone.
        if self.state is not State.EXITED:
            self._after_ms(EXIT_GRACE_S * 1000, functools.partial(self.kill, EndReason.PROTOCOL))

    def _on_broken(self, error: OutlastError) -> None:
        self._journal.uncaught(f"the worker broke its control channel: {error}")
        self.kill(EndReason.PROTOCOL)

    def _send_beforeunload(self, reason: UnloadReason) -> None:
        self._journal.warned(reason)
        self.channel.send(messages.BeforeUnload(reason))

    def _on_unloaded(self) -> None:
        if self.state is State.UNLOADING:
            self._tell(Event.UNLOADED)

    def _boot_overdue(self) -> None:
        overdue = (
            f"the function did not start serving within {self._limits.boot_timeout_ms} ms; "
            f"to give it longer: [functions.{self._function.name}.limits] boot_timeout_ms in outlast.toml"
        )
        self.kill(EndReason.BOOT_FAILURE, boot_error=overdue)

    # Time.

    def _ms_since(self, moment: float) -> int:
        return round((self._loop.time() - moment) * 1000)

    def _after_ms(self, delay_ms: float, callback: Callable[[], object]) -> None:
        if delay_ms:
            due = self._loop.time() + delay_ms / 1000
            self._timers.append(self._loop.call_at(due, self._passed, due, delay_ms, callback))

    def _passed(self, due: float, delay_ms: float, callback: Callable[[], object]) -> None:
        if self._loop.time() - due > LATE_S:
            self._after_ms(delay_ms, callback)
        else:
            callback()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
