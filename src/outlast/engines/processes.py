"""Starts and ends worker processes, through the spawner."""

import asyncio
import contextlib
import functools
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outlast.core.errors import OutlastError
from outlast.engines import descriptors
from outlast.sandbox.walls import Walls
from outlast.wire.framing import Lines

SPAWNER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("spawner.py")))
SEND_TIMEOUT_S = 5.0
STARTED_WITHIN_S = 60.0
"""A spawner is stuck, and killed, that says nothing of itself for so long: a slow machine takes seconds to load what a
zygote preloads."""
ANSWERED_WITHIN_S = 10.0
"""So is one that has not said so long after it was asked for a process whether it has started it, nor anything else
for as long: the last in a long queue has to wait."""
KILLED_WITHIN_S = 10.0
"""So is one that has not told of the end of a process so long after it was to kill it, or that goes on for so long
after its node has parted with it."""
MAX_REPORT = 16 * 1024
"""Of what a program that prepares a function says of its failure, so many characters are passed on."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes, of ``ru_maxrss`` (getrusage(2))."""


class SpawnError(OutlastError):
    """A worker process could not be started."""


class SpawnerGone(SpawnError):
    """The process that starts workers ended before it had started this one."""

    def __init__(self) -> None:
        super().__init__("the process that starts workers ended")


@dataclass(frozen=True)
class Command:
    """What to run as a worker: an absolute program with its arguments, its whole environment, its folder."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    fork: Mapping[str, object] | None = None
    """For a zygote: what to run in a copy of itself, instead of ``argv``."""
    walls: Walls | None = None
    """What the process may touch; None: whatever the node may."""
    keeps: bool = False
    """Whether it gets shared memory for what it has not sent (`outlast.wire.kept`), as descriptor ``KEPT_FD``."""
    port: int | None = None
    """Of its debugger (`outlast.engines.deno.inspector`), which the worker before it may still have."""


@dataclass(frozen=True)
class Exit:
    """How a process ended and what it used. ``None``: unknown."""

    code: int | None
    """Negative for the signal that ended it."""
    cpu_ms: int | None
    memory_mb: int | None
    """The most that was resident at once."""

    @property
    def regular(self) -> bool:
        """Whether it exited by itself, with whatever exit code."""
        return self.code is not None and self.code >= 0

    @property
    def words(self) -> str:
        if self.code is None:
            return "exit code unknown"
        if self.code >= 0:
            return f"exit code {self.code}"
        hint = ", as happens when memory runs out" if self.code == -signal.SIGKILL else ""
        return f"signal {-self.code}, {signal.strsignal(-self.code)}{hint}"


UNSEEN = Exit(None, None, None)
KILLED_UNSEEN = Exit(-signal.SIGKILL, None, None)


@dataclass(frozen=True)
class Result:
    """The result of a program that has run to its end."""

    code: int | None
    """Negative for the signal that ended it."""
    out: bytes
    err: bytes


Run = Callable[[Command], Awaitable[Result]]
"""Runs a program to its end."""


@dataclass(eq=False)
class Process:
    """A worker process, running or ended."""

    pid: int
    stdout: int
    """Read end of a pipe; whoever reads it closes it."""
    stderr: int
    exited: asyncio.Future[Exit]
    kill: Callable[[], None]
    """Kills it at once, with everything in its process group."""
    kept: int | None = None
    """The memory that it was given, also a descriptor that whoever reads it closes."""


class Spawner:
    """The node's side of ``spawner.py``, which it starts with the first process that is wanted, and again if it ends.

    Processes of a spawner that has ended live on; only how they end remains unknown.
    """

    def __init__(self, argv: Sequence[str] = SPAWNER) -> None:
        self._argv = argv
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lines = Lines()
        self._heard_at = -math.inf
        """When the spawner said something last."""
        self._numbers = itertools.count(1)
        self._hello: asyncio.Future[Mapping[str, Any]] | None = None
        self._asked: dict[int, asyncio.Future[tuple[int, asyncio.Future[Exit]]]] = {}
        self._running: dict[int, asyncio.Future[Exit]] = {}
        """By process id."""
        self._orphans: dict[int, asyncio.Future[Exit]] = {}
        """The same for processes whose spawner is gone."""
        self._burials: set[asyncio.Future[int]] = set()

    async def hello(self) -> Mapping[str, Any]:
        """What the spawner says about itself. Starts it unless it runs already. Raises `SpawnError`."""
        self._open(asyncio.get_running_loop())
        assert self._hello is not None
        return await asyncio.shield(self._hello)

    async def spawn(self, command: Command) -> Process:
        """Starts a process that leads a group of its own. Raises `SpawnError`."""
        try:
            try:
                return await self._spawn(command)
            except SpawnerGone:
                # If it did start the process, that has ended with its lifeline. The next call starts a new spawner.
                return await self._spawn(command)
        except OSError as error:
            raise SpawnError(f"cannot start a worker process: {error}") from error

    async def _spawn(self, command: Command) -> Process:
        await self.hello()
        number = next(self._numbers)
        what = {"fork": command.fork} if command.fork is not None else {"argv": [*command.argv]}
        walls = command.walls._asdict() if command.walls is not None else None
        request = {
            "spawn": number,
            **what,
            "env": {**command.env},
            "cwd": str(command.cwd),
            "walls": walls,
            "keeps": command.keeps,
        }
        with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
            stdout, stdout_w = descriptors.pipe(on_failure, always)
            stderr, stderr_w = descriptors.pipe(on_failure, always)
            lifeline_r, lifeline = descriptors.pipe(always, on_failure)
            answer = self._asked[number] = asyncio.get_running_loop().create_future()
            always.callback(self._asked.pop, number, None)
            memory = descriptors.memory(on_failure) if command.keeps else None
            self._send(request, [stdout_w, stderr_w, lifeline_r, *([memory] if memory is not None else [])])
            _after(ANSWERED_WITHIN_S, self._expect, answer, ANSWERED_WITHIN_S)
            pid, exited = await answer
            on_failure.pop_all()
        exited.add_done_callback(lambda _: os.close(lifeline))
        return Process(pid, stdout, stderr, exited, functools.partial(self._kill, pid), memory)

    async def run(self, command: Command) -> Result:
        """Runs a program to its end; if cancelled, kills it. Raises `SpawnError`."""
        process = await self.spawn(command)
        # If this is cancelled, what is shielded must not be: the kill ends the reading, which closes the pipes, and the
        # spawner's messages complete the other future.
        reading = asyncio.gather(descriptors.read_all(process.stdout), descriptors.read_all(process.stderr))
        try:
            out, err = await asyncio.shield(reading)
            return Result((await asyncio.shield(process.exited)).code, out, err)
        finally:
            process.kill()

    async def close(self) -> None:
        """Ends the spawner, and with it every worker that still runs."""
        self._lost()
        for pid in [*self._orphans]:
            self._kill(pid)
            # This also closes its lifeline, so it is killed twice over.
            self._orphans.pop(pid).set_result(KILLED_UNSEEN)
        await asyncio.gather(*self._burials)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            return
        try:
            ours = self._start()
        except OSError as error:
            raise SpawnError(f"the process that starts workers cannot be started: {error}") from error
        ours.settimeout(SEND_TIMEOUT_S)
        self._socket, self._lines, self._hello = ours, Lines(), loop.create_future()
        self._heard_at = -math.inf
        loop.add_reader(ours, self._hear)
        _after(STARTED_WITHIN_S, self._expect, self._hello, STARTED_WITHIN_S)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(ours.close)
            # In a session of its own from the first moment: what a terminal sends (Ctrl-C) is for the node alone.
            self._child = subprocess.Popen(self._argv, stdin=theirs.fileno(), env={}, cwd="/", start_new_session=True)
            on_failure.pop_all()
        return ours

    def _send(self, message: Mapping[str, object], passed: Sequence[int] = ()) -> None:
        if self._socket is None:
            raise SpawnerGone
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [data], passed) if passed else 0
            self._socket.sendall(data[sent:])
        except OSError as error:
            self._lost()
            raise SpawnerGone from error

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._heard_at = asyncio.get_running_loop().time()
        for line in self._lines.feed(data):
            self._take(json.loads(line))

    def _take(self, message: Mapping[str, Any]) -> None:
        if "hello" in message:
            assert self._hello is not None
            self._hello.set_result(message["hello"])
            return
        if "exited" in message:
            exited = self._running.pop(message["exited"])
            code = os.waitstatus_to_exitcode(message["status"])
            memory_mb = round(message["max_rss"] * _RSS_UNIT / 2**20)
            exited.set_result(Exit(code, message["cpu_ms"], memory_mb))
            return
        if "spawned" in message:
            exited = self._running[message["pid"]] = asyncio.get_running_loop().create_future()
        answer = self._asked.pop(message.get("spawned") or message["failed"], None)
        if answer is None or answer.done():
            # Nobody waits any more: closing the lifeline, which that caller did, has ended the process.
            return
        if "spawned" in message:
            answer.set_result((message["pid"], exited))
        else:
            answer.set_exception(SpawnError(f"cannot start a worker process: {message['error']}"))

    def _kill(self, pid: int) -> None:
        if (exited := self._running.get(pid)) is not None:
            with contextlib.suppress(SpawnError):
                self._send({"kill": pid})
                _after(KILLED_WITHIN_S, self._insist, pid, exited)
        if pid in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _insist(self, pid: int, exited: asyncio.Future[Exit]) -> None:
        """This process was to be killed some time ago."""
        if exited.done():
            return
        if pid in self._running:
            self._give_up()
        self._kill(pid)

    def _expect(self, answer: asyncio.Future[Any], within_s: float) -> None:
        """The spawner was to give this answer by now. It is the present one: when one ends, all are given."""
        if answer.done():
            return
        if asyncio.get_running_loop().time() - self._heard_at < within_s:
            _after(within_s, self._expect, answer, within_s)
        else:
            self._give_up()

    def _give_up(self) -> None:
        """The spawner is stuck."""
        assert self._child is not None
        self._child.kill()
        self._lost()

    def _lost(self) -> None:
        """The spawner is gone. Its processes go on, but their end has to be noticed in another way."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        child, self._socket, self._child = self._child, None, None
        assert child is not None and self._hello is not None
        burial = asyncio.ensure_future(asyncio.to_thread(child.wait))
        # It ends of itself, unless it is stuck.
        asyncio.get_running_loop().call_later(KILLED_WITHIN_S, child.kill)
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        asked, self._asked = self._asked, {}
        unanswered: list[asyncio.Future[Any]] = [self._hello, *asked.values()]
        for answer in unanswered:
            if not answer.done():
                answer.set_exception(SpawnerGone())
                # Marks the exception as seen, in case nobody waits for it.
                answer.exception()
        running, self._running = self._running, {}
        for pid, exited in running.items():
            self._watch_orphan(pid, exited)

    def _watch_orphan(self, pid: int, exited: asyncio.Future[Exit]) -> None:
        try:
            # Linux: pidfd_open(2).
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            exited.set_result(UNSEEN)
            return
        except (AttributeError, OSError):
            # A process that cannot be watched must not go on.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            exited.set_result(KILLED_UNSEEN)
            return
        loop = asyncio.get_running_loop()
        self._orphans[pid] = exited

        def end() -> None:
            loop.remove_reader(descriptor)
            if self._orphans.pop(pid, None) is not None:
                exited.set_result(UNSEEN)

        loop.add_reader(descriptor, end)
        exited.add_done_callback(lambda _: end())
        exited.add_done_callback(lambda _: os.close(descriptor))


def _after(delay_s: float, check: Callable[..., None], *arguments: object) -> None:
    """Calls ``check``, in two steps: where the node itself stood still, it reads first what has come meanwhile."""
    loop = asyncio.get_running_loop()
    loop.call_later(delay_s / 2, loop.call_later, delay_s / 2, check, *arguments)
