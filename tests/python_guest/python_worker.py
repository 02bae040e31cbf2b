"""A worker of the Python engine as its node has it: a real process and real sockets, the test being the node."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.engines.deno_worker import PATIENCE_S, DenoWorker, connected

from outlast.engines.descriptors import ReadEnd
from outlast.engines.processes import Command, Process, Spawner
from outlast.engines.python.engine import ZYGOTE
from outlast.engines.python.start import Start


class PythonWorker(DenoWorker):
    """The two kinds of worker cannot be told apart from here, and that is the point."""

    async def ask(self, raw: bytes) -> bytes:
        """What comes back for these bytes, up to the end of the connection."""
        reader, writer = await self.connect()
        writer.write(raw)
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        return answer

    @property
    def printed(self) -> list[tuple[str, str]]:
        return [(message["level"], message["text"]) for message in self.messages if message["type"] == "log"]

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]


class Forked:
    """A copy of the zygote, as much of it as of an `asyncio.subprocess.Process` is asked for."""

    def __init__(self, process: Process, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self.pid = process.pid
        self.kill = process.kill
        self.stdout = stdout
        self.stderr = stderr
        self._exited = process.exited

    @property
    def returncode(self) -> int | None:
        return self._exited.result().code if self._exited.done() else None

    async def wait(self) -> int | None:
        return (await asyncio.shield(self._exited)).code

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err


_zygotes: dict[asyncio.AbstractEventLoop, Spawner] = {}
"""One for all tests: starting it takes longer than most of them. It ends with the process that runs them."""


async def fork(folder: Path, entrypoint: Path, memory_mb: int, environment: Mapping[str, str]) -> Forked:
    loop = asyncio.get_running_loop()
    zygote = _zygotes.setdefault(loop, Spawner(ZYGOTE))
    start = Start(
        folder=str(folder),
        script=str(entrypoint),
        code=[str(entrypoint.parent)],
        shared=[],
        environment=None,
        layers=[],
        memory_mb=memory_mb,
        keeps=False,
    )
    env = {"LANG": "C.UTF-8", **environment}
    process = await zygote.spawn(Command(argv=[], env=env, cwd=entrypoint.parent, fork={**start}))
    return Forked(process, await _reader(process.stdout), await _reader(process.stderr))


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ReadEnd(descriptor))
    return reader


@contextlib.asynccontextmanager
async def standby(
    entrypoint: Path, memory_mb: int = 0, start: Callable[..., Awaitable[Any]] = fork, **environment: str
) -> AsyncIterator[PythonWorker]:
    """A worker that has connected and waits for `boot`. ``start``: whatever starts its process as `fork` does."""
    async with connected(PythonWorker, lambda folder: start(folder, entrypoint, memory_mb, environment)) as worker:
        yield worker


@contextlib.asynccontextmanager
async def booted(entrypoint: Path, memory_mb: int = 0, **environment: str) -> AsyncIterator[PythonWorker]:
    """A worker that has been told to evaluate its function."""
    async with standby(entrypoint, memory_mb, **environment) as worker:
        worker.boot(entrypoint)
        yield worker
