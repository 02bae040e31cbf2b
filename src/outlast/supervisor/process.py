"""The process that a worker lives in: its folder, its control channel and what it prints."""

import asyncio
import contextlib
import functools
import os
import re
import shutil
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import groupby
from pathlib import Path

from outlast.engines.processes import Command, Exit, Process
from outlast.supervisor.channel import Channel, Output
from outlast.telemetry.logs import Level
from outlast.telemetry.pressure import Pressure
from outlast.wire import kept, notes, sockets

LAST_WORDS_S = 1.0
"""How long to wait for the rest of what a dead worker has said, should another process hold its pipes open."""
KEPT_ERROR_LINES = 200
_NODE_WARNING = re.compile(r"\(node:\d+\) ")
"""What Deno writes to standard error when a package of npm, or a function, warns in the way of Node.js."""
KEPT_ERROR_CHARS = 64 * 1024
"""Of each."""


class WorkerProcess:
    """Runs one process. ``on_output`` is called with the lines that it prints."""

    def __init__(self, folder: Path, channel: Channel, on_output: Callable[[Level, list[str]], None]) -> None:
        self.folder = folder
        self.pid: int | None = None
        self.is_over = False
        """Whether the process has ended. What it has said last may still be to come."""
        self.last_errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        """The last lines of its standard error."""
        self._channel = channel
        self._on_output = on_output
        self._process: Process | None = None
        self._outputs: list[Output] = []
        self._is_held_back = False
        self._is_doomed = False

    async def run(
        self,
        command: Command,
        spawn: Callable[[Command], Awaitable[Process]],
        on_started: Callable[[], None],
    ) -> Exit:
        """Runs it from start to end; ``on_started`` is called when the process id is known.

        Raises OutlastError or OSError if it cannot be started. Call `bury` afterwards in any case.
        """
        self.folder.mkdir(mode=0o700)
        (self.folder / "tmp").mkdir(mode=0o700)
        if not command.keeps:
            (self.folder / notes.FILE).touch(mode=0o600)
        loop = asyncio.get_running_loop()
        control = await loop.create_unix_server(self._channel.protocol, self.folder / sockets.CONTROL)
        try:
            process = self._process = await spawn(command)
            self.pid = process.pid
            on_started()
            self._outputs = [
                await Output.read(process.stdout, functools.partial(self._on_output, Level.INFO)),
                await Output.read(process.stderr, self._on_error_lines),
            ]
            if self._is_doomed:
                process.kill()
            used = await process.exited
            self.is_over = True
            await self._last_words()
            return used
        finally:
            control.close()
            if self._process is not None and (memory := self._process.kept) is not None:
                self._process.kept = None
                os.close(memory)
            # It is gone already, unless something failed here.
            self.kill()

    async def bury(self) -> None:
        """Removes its folder."""
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def kill(self) -> None:
        self._is_doomed = True
        if self._process is not None:
            self._process.kill()

    def hold_back(self, pressure: Pressure) -> None:
        """Stops reading what it says, as long as the log is behind."""
        if not (self._is_held_back or self.is_over):
            self._is_held_back = True
            pressure.when_low(self._listen_again)
            self._channel.pause()
            for output in self._outputs:
                output.pause()

    def _listen_again(self) -> None:
        if self._is_held_back:
            self._is_held_back = False
            self._channel.resume()
            for output in self._outputs:
                output.resume()

    async def _last_words(self) -> None:
        """Reads what it wrote before its end, which is still in the sockets and in the memory that it shared."""
        self._listen_again()
        pending = [output.closed for output in self._outputs]
        if self._channel.is_open:
            pending.append(self._channel.closed)
        await asyncio.wait(pending, timeout=LAST_WORDS_S)
        for output in self._outputs:
            output.close()
        self._channel.close()
        assert self._process is not None
        if self._process.kept is not None:
            self._channel.hear_what_was_kept(os.pread(self._process.kept, kept.SIZE, 0))
        else:
            self._channel.hear_what_was_noted(self._notes())

    def _notes(self) -> bytes:
        # Without the sandbox, anything may lie there.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder / notes.FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                return file.read(notes.MAX_BYTES) or b""
        return b""

    def _on_error_lines(self, lines: list[str]) -> None:
        self.last_errors.extend(lines)
        for is_warning, run in groupby(lines, _is_warning):
            self._on_output(Level.WARNING if is_warning else Level.ERROR, [*run])


def _is_warning(line: str) -> bool:
    return _NODE_WARNING.match(line) is not None
