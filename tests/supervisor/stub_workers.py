"""Workers without processes: real sockets in this event loop, moved by the test."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from outlast.config.settings import FunctionSettings
from outlast.core import ids
from outlast.core.balance import Scale
from outlast.core.language import Language
from outlast.core.limits import Limits, Step, Usage, Verdict
from outlast.core.outcome import EndReason, RequestEnd, UnloadReason
from outlast.core.policy import Policy
from outlast.engines.processes import Command, Exit, Process
from outlast.ledger.memory import MemoryLedger
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.lifecycle import STANDBY_PING
from outlast.supervisor.meter import Meter
from outlast.supervisor.pool import Pool
from outlast.supervisor.register import Register
from outlast.supervisor.resources import Resources
from outlast.supervisor.worker import Worker
from outlast.telemetry.logs import Format, Log
from outlast.wire import http1
from outlast.wire.invocation import Invocation
from outlast.wire.tracing import Trace

PATIENCE_S = 10
NO_STANDBY = Scale(standby=0)


class Stub:
    """One worker. It does nothing of itself, except that a kill ends it."""

    def __init__(self, command: Command) -> None:
        self.folder = command.cwd
        self.execution_id = command.argv[0]
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        """What the node has said, by the kind of message."""
        self.unloads_for = ""
        """The reason that `beforeunload` came with last."""
        self.abandoned: list[str] = []
        """The requests that it was told nobody waits for."""
        self.keeps_silent = False
        """Whether it leaves it to the test to answer when it is asked whether it has more to say."""
        self._questions: asyncio.Queue[int] = asyncio.Queue()
        self.is_without_clients = False
        """Whether it was told so with the last question."""
        self.connections = 0
        self.requests = 0
        self.held: list[asyncio.StreamWriter] = []
        """Connections whose request `answer` has not answered yet."""
        self.came = asyncio.Condition()
        self._exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._outputs = [os.pipe() for _ in ("stdout", "stderr")]
        self._listening: asyncio.Task[None] | None = None
        self._control: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    @property
    def process(self) -> Process:
        (stdout, _), (stderr, _) = self._outputs
        return Process(0, stdout, stderr, self._exited, self._killed)

    async def connect(self) -> None:
        reader, self._control = await asyncio.open_unix_connection(str(self.folder / "control.sock"))
        self._listening = asyncio.create_task(self._listen(reader))

    async def stand_by(self) -> None:
        """Comes up where it is not needed yet."""
        await self.connect()
        await self.told("ping")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            if message["type"] == "ping" and message["number"] != STANDBY_PING:
                self.is_without_clients = message.get("no_clients", False)
                self._be_asked(message["number"])
                continue
            if message["type"] == "abandoned":
                self.abandoned.append(message["request"])
            self.unloads_for = message.get("reason", self.unloads_for)
            self.heard.put_nowait(message["type"])

    def _be_asked(self, number: int) -> None:
        if self.keeps_silent:
            self._questions.put_nowait(number)
        else:
            self.say(type="pong", number=number)

    def say(self, **message: object) -> None:
        assert self._control is not None
        self._control.write(json.dumps(message).encode() + b"\n")

    async def told(self, kind: str) -> None:
        """Waits until the node has said this, which must be the next that it says."""
        assert await asyncio.wait_for(self.heard.get(), PATIENCE_S) == kind

    async def question(self) -> int:
        """Waits until it is asked whether it has more to say: the number for its answer."""
        return await asyncio.wait_for(self._questions.get(), PATIENCE_S)

    async def boots(self) -> None:
        """Comes up, and is told to evaluate the function's code."""
        await self.connect()
        await self.told("boot")

    async def booted(self) -> None:
        """Comes up and serves."""
        await self.boots()
        await self.serve()

    async def serve(self) -> None:
        await self.listen()
        self.say(type="ready")

    async def listen(self, socket: str = "http.sock") -> None:
        self._server = await asyncio.start_unix_server(self._accept, str(self.folder / socket))

    def stop_serving(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self.came:
            self.connections += 1
            self.came.notify_all()
        while head := await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET ")
            async with self.came:
                self.requests += 1
                self.held.append(writer)
                self.came.notify_all()
        writer.close()

    async def has(self, count: int) -> None:
        """Waits until so many requests have come in all."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: self.requests >= count), PATIENCE_S)

    async def is_connected(self) -> None:
        """Waits until the node has opened a connection."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: self.connections > 0), PATIENCE_S)

    def answer(self) -> None:
        """Answers what it has."""
        for writer in self.held:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.held.clear()

    async def answers(self, count: int) -> None:
        """Answers what it has, once so many requests have come in all."""
        await self.has(count)
        self.answer()

    def exit(self, code: int = 0) -> None:
        if self._exited.done():
            return
        self.hang_up()
        self.die(code)

    def hang_up(self) -> None:
        for _, output in self._outputs:
            os.close(output)
        for writer in (self._control, *self.held):
            if writer is not None:
                writer.close()
        if self._server is not None:
            self._server.close()

    def die(self, code: int) -> None:
        """Its process ends, and something that it has started goes on, with all that it had open."""
        self._exited.set_result(Exit(code, 1, 1))

    async def exited(self) -> None:
        await asyncio.wait_for(asyncio.shield(self._exited), PATIENCE_S)

    def prints(self, text: str) -> None:
        os.write(self._outputs[1][1], text.encode())

    def _killed(self) -> None:
        # As with a process, the end is not there when the call returns.
        asyncio.get_running_loop().call_soon(self.exit, -9)

    async def obeys(self) -> None:
        """Does as it is told until its end."""
        while True:
            match await asyncio.wait_for(self.heard.get(), PATIENCE_S):
                case "beforeunload":
                    self.say(type="unloaded", reason=self.unloads_for)
                case "exit":
                    self.exit()
                    return


class Caller:
    """Implements `outlast.wire.invocation.Reply`, and remembers how it ended: with a status, or a `RequestEnd`."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int | RequestEnd] = asyncio.get_running_loop().create_future()
        self.execution_id = ""
        self.retry_after_s: int | None = None
        self.why = ""
        self.then: Any = None
        """Called when it has ended."""
        self.exchange: Exchange

    def proceed(self) -> None: ...

    def begin(self, head: http1.ResponseHead, execution_id: str, content: bytes, last: bool) -> None:
        self.execution_id = execution_id
        self._end(head.status)

    def data(self, content: bytes, last: bool) -> None: ...

    def fail(
        self,
        end: RequestEnd,
        execution_id: str,
        why: str = "",
        *,
        limit: Verdict | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.why = why
        self.execution_id = execution_id
        self.retry_after_s = retry_after_s
        self._end(end)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def _end(self, end: int | RequestEnd) -> None:
        self.ended.set_result(end)
        if self.then is not None:
            self.then()

    async def end(self) -> int | RequestEnd:
        return await asyncio.wait_for(asyncio.shield(self.ended), PATIENCE_S)


class Engine:
    """Prepares at once, unless the test says otherwise."""

    def __init__(self) -> None:
        self.prepared = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.asked, self.cancelled = asyncio.Event(), asyncio.Event()

    async def prepare(self, function: FunctionSettings) -> "Engine":
        self.prepared += 1
        self.asked.set()
        error = self.error
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if error is not None:
            raise error
        return self

    modules: frozenset[Path] = frozenset()

    def command(self, folder: Path, execution_id: str) -> Command:
        return Command([execution_id], {}, folder)

    def limit_reached(self, used: Exit, errors: str) -> EndReason | None:
        return EndReason.MEMORY if "out of memory" in errors else None

    def concerns(self, path: Path) -> bool:
        return False


class House:
    """A pool with all that it needs."""

    def __init__(self, folder: Path, code: Path, policy: Policy, limits: Limits, scale: Scale) -> None:
        self.engine = Engine()
        self.spawned: asyncio.Queue[Stub] = asyncio.Queue()
        self.spawning = asyncio.Event()
        self.spawning.set()
        self.spawn_error: Exception | None = None
        self.lines: list[str] = []
        self._news = asyncio.Event()
        log = Log(self._heard, format=Format.JSON)
        self.function = FunctionSettings(
            name="stub",
            folder=code,
            entrypoint=code / "index.ts",
            language=Language.TYPESCRIPT,
            verify_jwt=False,
            env={},
            limits=limits,
            scale=scale,
        )
        self.function.entrypoint.touch()
        engines = {Language.TYPESCRIPT: self.engine}
        self.ledger = MemoryLedger()
        register = Register(self.ledger, ids.uuid7(0, 0))
        resources = Resources(engines, self._spawn, folder, log, register, lambda: None, Meter(), cpus=1)
        self.pool = Pool(self.function, policy, resources)

    async def _spawn(self, command: Command) -> Process:
        stub = Stub(command)
        self.spawned.put_nowait(stub)
        await self.spawning.wait()
        if self.spawn_error is not None:
            raise self.spawn_error
        return stub.process

    async def worker(self) -> Stub:
        """The next one that the pool starts."""
        return await asyncio.wait_for(self.spawned.get(), PATIENCE_S)

    async def ready_worker(self) -> Stub:
        worker = await self.worker()
        await worker.booted()
        return worker

    async def busy_worker(self) -> tuple[Stub, Caller]:
        """One that was started for a call, and has it."""
        caller = self.call()
        worker = await self.ready_worker()
        await worker.has(1)
        return worker, caller

    async def served_worker(self) -> Stub:
        """One that has answered its first call."""
        worker, caller = await self.busy_worker()
        worker.answer()
        assert await caller.end() == 200
        return worker

    def call(self, trace: Trace | None = None) -> Caller:
        caller = Caller()
        invocation = Invocation("r-1", b"GET", b"GET /stub HTTP/1.1\r\nhost: x\r\n\r\n", trace=trace)
        caller.exchange = self.pool.submit(invocation, caller, b"", complete=True)
        return caller

    def worker_of(self, stub: Stub) -> Worker:
        """How the pool knows it."""
        [worker] = [worker for worker in self.pool._crew if worker.execution_id == stub.execution_id]
        return worker

    def judge(self, stub: Stub, step: Step = Step.FINE, reason: UnloadReason = UnloadReason.EARLY_DROP) -> None:
        """Has it looked at by a meter that finds so much."""
        verdicts = [Verdict(step, reason)] if step is not Step.FINE else []
        self.worker_of(stub)._enforcer.measured(Usage(), verdicts)

    def hurry(self, stub: Stub, boot_timeout_ms: int) -> None:
        """One on standby has so long, once it is needed. A limit for all workers would be theirs on a slow machine."""
        lifecycle = self.worker_of(stub)._lifecycle
        lifecycle._limits = replace(lifecycle._limits, boot_timeout_ms=boot_timeout_ms)

    @property
    def generation(self) -> int:
        """How often the files have changed, as far as that has taken effect."""
        return self.pool._crew.generation

    def hold_up(self, stub: Stub, held_up: bool) -> None:
        """Has a meter find that its event loop stands still, or goes on again."""
        self.worker_of(stub)._enforcer.held_up(held_up)

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]

    async def logged(self, event: str, *, count: int = 1) -> dict[str, Any]:
        """The first event of this name, or the last of so many, when it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := self.events(event)) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def _heard(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def buried(self, stub: Stub) -> None:
        """Waits until nothing is left of it, if it is not so already."""
        for worker, life in [*self.pool._crew._alive.items()]:
            if worker.execution_id == stub.execution_id:
                await asyncio.wait_for(asyncio.shield(life), PATIENCE_S)

    async def ended(self) -> None:
        await asyncio.wait_for(self.pool.wait_ended(), PATIENCE_S)


@asynccontextmanager
async def house(policy: Policy = Policy.PER_WORKER, scale: Scale = NO_STANDBY, **limits: int) -> AsyncIterator[House]:
    # The paths of sockets must be short.
    folder, code = (Path(tempfile.mkdtemp(prefix="outlast-test-")) for _ in range(2))
    try:
        opened = House(folder, code, policy, Limits(**limits), scale)
        yield opened
        opened.pool.close(EndReason.TERMINATION)
        opened.pool.kill(EndReason.TERMINATION)
        await opened.ended()
        assert not os.listdir(folder), "workers leave nothing behind"  # noqa: PTH208, nothing waits here
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(code)
