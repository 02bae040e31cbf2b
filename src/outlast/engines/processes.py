"""Starting and ending worker processes, by way of the spawner."""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from outlast.core.errors import OutlastError
from outlast.wire.framing import Lines

SPAWNER = Path(__file__).with_name("spawner.py")
SEND_TIMEOUT_S = 5.0
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes, of ``ru_maxrss`` (getrusage(2))."""


class SpawnError(OutlastError):
    """A worker process could not be started."""


@dataclass(frozen=True)
class Command:
    """What to run as a worker: an absolute program with its arguments, its whole environment, its folder."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True)
class Exit:
    """How a process ended and what it used."""

    code: int
    """Negative for the signal that ended it."""
    cpu_ms: int
    memory_mb: int
    """The most that was resident at once."""


@dataclass(eq=False)
class Process:
    """A worker process that runs, or ran."""

    pid: int
    stdout: int
    """Read end of a pipe; whoever reads it closes it."""
    stderr: int
    exited: asyncio.Future[Exit]
    kill: Callable[[], None]
    """Ends it, and whatever else is in its process group, at once."""


class Spawner:
    """The node's side of ``spawner.py``: started with the first process that is wanted, and again should it end."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lines = Lines()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._running: dict[int, asyncio.Future[Exit]] = {}
        """By process id."""

    async def spawn(self, command: Command) -> Process:
        """Starts a process that leads a group of its own. Raises `SpawnError`."""
        loop = asyncio.get_running_loop()
        self._open(loop)
        number = next(self._numbers)
        request = {"spawn": number, "argv": [*command.argv], "env": {**command.env}, "cwd": str(command.cwd)}
        with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
            pipes = [os.pipe() for _ in ("stdout", "stderr", "lifeline")]
            (stdout, stdout_w), (stderr, stderr_w), (lifeline_r, lifeline) = pipes
            for theirs in (stdout_w, stderr_w, lifeline_r):
                always.callback(os.close, theirs)
            for ours in (stdout, stderr, lifeline):
                on_failure.callback(os.close, ours)
            answer = self._asked[number] = loop.create_future()
            always.callback(self._asked.pop, number, None)
            self._send(request, [stdout_w, stderr_w, lifeline_r])
            pid = await answer
            on_failure.pop_all()
        exited = self._running[pid]
        exited.add_done_callback(lambda _: os.close(lifeline))
        return Process(pid, stdout, stderr, exited, functools.partial(self._kill, pid))

    async def close(self) -> None:
        """Ends the spawner, and with it every worker that still runs."""
        child = self._child
        self._lost()
        if child is not None:
            await asyncio.to_thread(child.wait)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen([sys.executable, "-I", "-S", str(SPAWNER)], stdin=theirs.fileno(), env={})
        ours.settimeout(SEND_TIMEOUT_S)
        self._socket, self._lines = ours, Lines()
        loop.add_reader(ours, self._hear)

    def _send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        if self._socket is None:
            raise SpawnError("the process that starts workers is gone")
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else 0
            self._socket.sendall(data[sent:])
        except OSError as error:
            self._lost()
            raise SpawnError(f"the process that starts workers is gone: {error}") from error

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        for line in self._lines.feed(data):
            message = json.loads(line)
            if "exited" in message:
                exited = self._running.pop(message["exited"])
                code = os.waitstatus_to_exitcode(message["status"])
                memory_mb = round(message["max_rss"] * _RSS_UNIT / 2**20)
                exited.set_result(Exit(code, message["cpu_ms"], memory_mb))
                continue
            if "spawned" in message:
                self._running[message["pid"]] = asyncio.get_running_loop().create_future()
            answer = self._asked.pop(message.get("spawned") or message["failed"], None)
            if answer is None or answer.done():
                # Nobody waits any more: closing the lifeline, which that caller did, has ended the process.
                continue
            if "spawned" in message:
                answer.set_result(message["pid"])
            else:
                answer.set_exception(SpawnError(f"cannot start a worker process: {message['error']}"))

    def _kill(self, pid: int) -> None:
        if pid in self._running:
            with contextlib.suppress(SpawnError):
                self._send({"kill": pid})

    def _lost(self) -> None:
        """The spawner is gone; what it had started ends with its lifeline."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = self._child = None
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(SpawnError("the process that starts workers ended"))
        running, self._running = self._running, {}
        for exited in running.values():
            exited.set_result(Exit(-signal.SIGKILL, 0, 0))
