"""A worker of the Deno engine as its node has it: a real process and real sockets, the test being the node."""

import asyncio
import contextlib
import http.client
import io
import json
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from deno import find_deno_bin

from outlast.core.limits import Limits
from outlast.engines.deno import memory
from outlast.engines.deno.rehearsal import Rehearsal
from outlast.engines.deno.shipped import GUEST
from outlast.engines.processes import Command, Result

DENO_DIR = Path(__file__).parents[2] / ".outlast" / "test-deno"
ENV = {"DENO_DIR": str(DENO_DIR), "NO_COLOR": "1"}
PATIENCE_S = 20
UPGRADE = (
    b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
"""The head of a request for a WebSocket, but for its end."""
PEER = {"x-outlast-peer": "203.0.113.9:4711", "x-forwarded-proto": "https", "host": "example.com:8443"}

Message = dict[str, Any]
W = TypeVar("W", bound="DenoWorker")


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class DenoWorker:
    """Says and hears lines of the control channel, and speaks HTTP to what the worker serves."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.messages: list[Message] = []
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self._heard = asyncio.Condition()
        self._closed = False

    async def hear(self) -> None:
        """Takes in what the worker says until it closes the channel."""
        while line := await self.reader.readline():
            async with self._heard:
                self.messages.append(json.loads(line))
                self._heard.notify_all()
        async with self._heard:
            self._closed = True
            self._heard.notify_all()

    def say(self, **message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    def boot(self, entrypoint: Path) -> None:
        self.say(type="boot", function=entrypoint.parent.name, entrypoint=entrypoint.as_uri())

    async def message(self, kind: str, **fields: object) -> Message:
        """The first message, heard already or still to come, of this type and with these fields."""

        def found() -> Message | None:
            wanted = {"type": kind, **fields}
            return next((heard for heard in self.messages if wanted.items() <= heard.items()), None)

        async with self._heard:
            try:
                await asyncio.wait_for(self._heard.wait_for(lambda: found() or self._closed), PATIENCE_S)
            except TimeoutError:
                raise AssertionError(f"the worker did not say {kind} {fields}: {self.messages}") from None
        message = found()
        if message is None:
            raise AssertionError(f"the worker ended without {kind} {fields}: {self.messages}")
        return message

    async def log(self, text: str) -> Message:
        return await self.message("log", text=text)

    async def ended(self) -> tuple[int, str]:
        """Its exit code and what it wrote to its error output, once it has ended of itself."""
        _, err = await asyncio.wait_for(self.process.communicate(), PATIENCE_S)
        await asyncio.wait_for(self._drained(), PATIENCE_S)
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    async def ended_by_request(self) -> tuple[int, str]:
        """The same, of a request that ends it instead of being answered."""
        _, writer = await self.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        ended = await self.ended()
        writer.close()
        return ended

    async def _drained(self) -> None:
        async with self._heard:
            await self._heard.wait_for(lambda: self._closed)

    async def connect(self, socket: str = "http.sock") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.folder / socket))

    async def get(
        self, path: str = "/fn", request_id: str = "r-1", socket: str = "http.sock", **headers: str
    ) -> Answer:
        reader, writer = await self.connect(socket)
        head = {**PEER, "sb-request-id": request_id, "connection": "close", **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        raw = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        response = http.client.HTTPResponse(_Bytes(raw))  # type: ignore[arg-type]
        response.begin()
        return Answer(response.status, response.msg, response.read())


class _Bytes:
    """As much of a socket as `http.client` asks for."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.raw)


@contextlib.asynccontextmanager
async def connected(kind: type[W], start: Callable[[Path], Awaitable[Any]]) -> AsyncIterator[W]:
    """A worker that has connected and waits for `boot`. ``start`` begins its process, with this folder of its own."""
    # Its sockets' paths must stay short: pytest's own folders are too deep for that.
    folder = Path(tempfile.mkdtemp(prefix="guest-"))
    streams: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    node = await asyncio.start_unix_server(
        lambda reader, writer: streams.set_result((reader, writer)),
        str(folder / "control.sock"),
        limit=2 * 1024 * 1024,
    )
    process = await start(folder)
    worker = kind(folder, process)
    try:
        worker.reader, worker.writer = await asyncio.wait_for(streams, PATIENCE_S)
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
async def standby(entrypoint: Path, memory_mb: int = 0, **environment: str) -> AsyncIterator[DenoWorker]:
    limits = Limits(memory_mb=memory_mb)
    async with connected(DenoWorker, lambda folder: _start(folder, entrypoint, limits, environment)) as worker:
        yield worker


@contextlib.asynccontextmanager
async def booted(entrypoint: Path, memory_mb: int = 0, **environment: str) -> AsyncIterator[DenoWorker]:
    """A worker that has been told to evaluate its function."""
    async with standby(entrypoint, memory_mb, **environment) as worker:
        worker.boot(entrypoint)
        yield worker


async def run(command: Command) -> Result:
    """As `outlast.engines.deno.prepare.Run`."""
    process = await asyncio.create_subprocess_exec(
        *command.argv, cwd=command.cwd, env=command.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return Result(process.returncode, out, err)


async def _start(
    folder: Path, entrypoint: Path, limits: Limits, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    baseline = (await Rehearsal(run, ENV).learnt()).baseline if limits.memory_mb else None
    data = memory.data_bytes(limits, baseline)

    def confine() -> None:
        if data is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (data, data))

    (folder / "tmp").mkdir()
    imports = {"jsr:@edge-runtime/js@2": (GUEST / "edge_runtime.ts").as_uri()}
    imports["https://deno.land/std@0.168.0/http/server.ts"] = (GUEST / "std_http_server.ts").as_uri()
    (folder / "import_map.json").write_text(json.dumps({"imports": imports}))
    sockets = ",".join(str(folder / name) for name in ("control.sock", "http.sock", "node.sock"))
    readable = f"{entrypoint.parent},{entrypoint.parent.parent / '_shared'},{folder}/tmp,{sockets}"
    return await asyncio.create_subprocess_exec(
        find_deno_bin(),
        *("run", "--no-prompt", "--quiet", "--no-config", "--no-lock", "--unstable-no-legacy-abort"),
        *("--allow-net", "--allow-env", "--allow-import", "--allow-sys=hostname,osRelease,cpus"),
        *(f"--allow-read={readable}", f"--allow-write={folder}/tmp,{sockets}"),
        *memory.v8_flags(limits),
        *("--import-map", str(folder / "import_map.json")),
        *("--preload", str(GUEST / "bootstrap.ts"), str(entrypoint)),
        preexec_fn=confine,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "OUTLAST_WORKER_DIR": str(folder),
            "OUTLAST_HIDE": "DENO_DIR,NO_COLOR,DENO_NODE_SHIM_ACTIVE,PATH",
            "DENO_DIR": str(DENO_DIR),
            "NO_COLOR": "1",
            "TMPDIR": str(folder / "tmp"),
            **environment,
        },
    )
