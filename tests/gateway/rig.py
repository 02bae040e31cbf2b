"""A real gateway on a real socket, a function behind it that the test plays, and a client that reads strictly."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outlast.core.limits import Step, Verdict
from outlast.core.outcome import UnloadReason
from outlast.gateway.auth import Denial, Pending
from outlast.gateway.ports import Ports, Served
from outlast.gateway.server import Gateway
from outlast.wire import bodies, http1
from outlast.wire.invocation import Invocation, Reply

PATIENCE_S = 20.0
EXECUTION_ID = "the-worker"
CPU_LIMIT = Verdict(Step.KILL, UnloadReason.CPU, used=5, limit=4)
ADDED = (b"x-forwarded-", b"x-outlast-", b"sb-request-id")


def response(
    status: int = 200,
    *,
    fields: Sequence[tuple[bytes, bytes]] = (),
    length: int = http1.CHUNKED,
    declared: int | None = None,
    upgrade: bytes | None = None,
) -> http1.ResponseHead:
    """A worker's head, as a link would have parsed it."""
    known = length if declared is None else declared
    return http1.ResponseHead(status, b"Fine", tuple(fields), length, known, True, upgrade)


class Exchange:
    """What a function sees of one request. ``body`` grows as it comes."""

    def __init__(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> None:
        self.invocation = invocation
        self.reply = reply
        self.body = body
        self.complete = complete
        self.hung_up = False
        self.cancelled = asyncio.Event()
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self.news = asyncio.Event()

    @property
    def head(self) -> http1.RequestHead:
        """What the worker would read, less what the gateway adds. It goes through the strict parser too."""
        first, *lines = self.invocation.head.split(b"\r\n")
        return http1.parse_request(b"\r\n".join([first, *(line for line in lines if not line.startswith(ADDED))]))

    def added(self) -> dict[str, str]:
        """What the gateway says of its own."""
        lines = self.invocation.head.decode("latin-1").split("\r\n")
        fields = [line.partition(": ")[::2] for line in lines if line.encode("latin-1").startswith(ADDED)]
        assert len({name for name, _ in fields}) == len(fields), "a field came twice"
        return dict(fields)

    def answer(self, content: bytes = b"", **head: Any) -> None:
        self.reply.begin(response(length=len(content), **head), EXECUTION_ID, content, last=True)

    async def until(self, body: bytes) -> None:
        """Waits for this to have come of the body, or of what the client sends through a tunnel."""
        async with asyncio.timeout(PATIENCE_S):
            while self.body != body:
                self.news.clear()
                await self.news.wait()

    # `outlast.wire.invocation.Exchange`

    def write(self, data: bytes) -> None:
        assert data
        self.body += data
        self.news.set()

    def finish(self) -> None:
        if self.complete:
            self.hung_up = True
        self.complete = True
        self.news.set()

    def cancel(self) -> None:
        self.cancelled.set()

    def pause(self) -> None:
        self.paused.set()

    def resume(self) -> None:
        self.resumed.set()


class Function:
    """A service whose requests the test takes out of ``arrived`` and answers itself."""

    def __init__(self, verify_jwt: bool = False) -> None:
        self.verify_jwt = verify_jwt
        self.arrived: asyncio.Queue[Exchange] = asyncio.Queue()
        self.count = 0

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        self.count += 1
        exchange = self.exchange(invocation, reply, body, complete)
        self.arrived.put_nowait(exchange)
        return exchange

    def exchange(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        return Exchange(invocation, reply, body, complete)

    async def next(self) -> Exchange:
        async with asyncio.timeout(PATIENCE_S):
            return await self.arrived.get()


class _Echo(Exchange):
    """Answers with what it was asked, once it has the whole request."""

    def __init__(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> None:
        super().__init__(invocation, reply, body, complete)
        asyncio.get_running_loop().call_soon(self._repeat if complete else reply.proceed)

    def finish(self) -> None:
        super().finish()
        asyncio.get_running_loop().call_soon(self._repeat)

    def _repeat(self) -> None:
        if self.cancelled.is_set():
            return
        head = self.head
        said = {
            "method": head.method.decode(),
            "target": (head.path + head.query).decode("latin-1"),
            "host": head.host.decode(),
            "fields": {name.decode(): value.decode("latin-1") for name, value in head.fields},
            "body": self.body.decode("latin-1"),
        }
        content = json.dumps(said).encode()
        if head.method == b"HEAD":
            self.reply.begin(response(length=0, declared=len(content)), EXECUTION_ID, b"", last=True)
        elif len(self.body) % 2:
            # The two framings take turns.
            self.reply.begin(response(), EXECUTION_ID, content[:7], last=False)
            self.reply.data(content[7:], last=True)
        else:
            self.answer(content)


class Echo(Function):
    def exchange(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        return _Echo(invocation, reply, body, complete)


class Everywhere(Mapping[str, Function]):
    """One function under every name."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def __getitem__(self, name: str) -> Function:
        return self._function

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class LetAllPass:
    def check(self, authorization: bytes | None) -> Denial | Pending | None:
        return None


@dataclass
class Answer:
    head: http1.ResponseHead
    body: bytes
    interim: list[int] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def fields(self) -> dict[bytes, bytes]:
        assert len({name for name, _ in self.head.fields}) == len(self.head.fields), "a field came twice"
        return dict(self.head.fields)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Reads answers by the strict parser, and keeps what lies beyond each for the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.beyond = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def send_in_pieces(self, pieces: Iterable[bytes]) -> None:
        """Each piece leaves the event loop alone long enough to be read by itself."""
        for piece in pieces:
            self.writer.write(piece)
            for _ in range(3):
                await asyncio.sleep(0)

    async def _more(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read(1 << 16)

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next answer, which must be whole."""
        interim = []
        while True:
            head = await self.head(method)
            if head.status >= 200 or head.status == 101:
                break
            interim.append(head.status)
        if head.status == 101:
            return Answer(head, b"", interim)
        decoder = bodies.decoder(head.length)
        content, self.beyond = decoder.feed(self.beyond)
        while not decoder.done:
            if data := await self._more():
                more, self.beyond = decoder.feed(data)
                content += more
            else:
                decoder.eof()
        return Answer(head, content, interim)

    async def head(self, method: bytes = b"GET") -> http1.ResponseHead:
        """The head of the next answer, interim ones included."""
        while (read := http1.read_response(self.beyond, method)) is None:
            data = await self._more()
            assert data, f"the connection ended in the head {self.beyond!r}"
            self.beyond += data
        head, end = read
        self.beyond = self.beyond[end:]
        return head

    async def exactly(self, data: bytes) -> None:
        """The next bytes are these."""
        while len(self.beyond) < len(data):
            more = await self._more()
            assert more, f"the connection ended with {self.beyond!r}"
            self.beyond += more
        assert self.beyond[: len(data)] == data
        self.beyond = self.beyond[len(data) :]

    async def rest(self) -> bytes:
        """All that comes until the gateway closes. ConnectionResetError if it does so in a hurry."""
        while data := await self._more():
            self.beyond += data
        return self.beyond

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Leaves in a way that the gateway cannot take for a closing of one direction."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


@dataclass
class Rig:
    gateway: Gateway
    address: tuple[str, int]
    served: list[Served]
    news: asyncio.Event

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(*self.address)
        client = Client(reader, writer)
        try:
            yield client
        finally:
            client.abort()

    async def until_served(self, count: int) -> Served:
        """Waits until so many requests have ended; returns the last one."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.served) < count:
                self.news.clear()
                await self.news.wait()
        return self.served[count - 1]


@contextlib.asynccontextmanager
async def gateway(services: Mapping[str, Function], *, verifier: Any = None, **options: Any) -> AsyncIterator[Rig]:
    """``options``: those of `Ports` that are not the usual ones."""
    served: list[Served] = []
    news = asyncio.Event()

    def on_served(_function: str, _status: int, _ms: float, tell: Callable[[], Served]) -> None:
        on_unread(tell())

    def on_unread(request: Served) -> None:
        served.append(request)
        news.set()

    server = Gateway(Ports(services, verifier or LetAllPass(), on_served, on_unread, **options))
    rig = Rig(server, await server.listen("127.0.0.1", 0), served, news)
    faults: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    try:
        yield rig
    finally:
        await server.close()
        server.abort()
        loop.set_exception_handler(None)
    # An exception in a callback of the event loop fails nobody else.
    assert not faults, faults
