"""A worker of the Python engine as its node has it: a real process and real sockets, the test being the node."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.engines.deno_worker import PATIENCE_S, DenoWorker


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


START = "import sys; from outlast.engines.python import guest, memory; memory.confine(int(sys.argv[2])); "
START += "guest.main(sys.argv[1])"


@contextlib.asynccontextmanager
async def standby(entrypoint: Path, memory_mb: int = 0, **environment: str) -> AsyncIterator[PythonWorker]:
    """A worker that has connected and waits for `boot`."""
    # Its sockets' paths must stay short: pytest's own folders are too deep for that.
    folder = Path(tempfile.mkdtemp(prefix="guest-"))
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    node = await asyncio.start_unix_server(
        lambda reader, writer: connected.set_result((reader, writer)),
        str(folder / "control.sock"),
        limit=2 * 1024 * 1024,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", START, str(folder), str(memory_mb)),
        cwd=entrypoint.parent,
        env={"LANG": "C.UTF-8", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    worker = PythonWorker(folder, process)
    try:
        worker.reader, worker.writer = await asyncio.wait_for(connected, PATIENCE_S)
        hearing = asyncio.create_task(worker.hear())
        try:
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
            await hearing
            worker.writer.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        node.close()
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def booted(entrypoint: Path, memory_mb: int = 0, **environment: str) -> AsyncIterator[PythonWorker]:
    """A worker that has been told to evaluate its function."""
    async with standby(entrypoint, memory_mb, **environment) as worker:
        worker.boot(entrypoint)
        yield worker
