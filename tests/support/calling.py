"""Requests at moments fixed beforehand, whatever becomes of those before them.

A load that waits for its answers lets a slow server off: while it stands still nobody asks it anything. Here a request
that is due is sent, and its latency counts from when it was due.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter, time
from urllib.parse import urlsplit

MAX_IDLE_S = 2.0
"""Servers close connections that are idle for longer."""
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request."""

    due_at: float
    """Seconds since the epoch, to be compared with a log."""
    latency_ms: float
    status: int
    """0 if there was none."""
    text: str
    """The body, or what went wrong."""


def evenly(rate: float) -> Iterator[float]:
    """Seconds from the beginning to each request."""
    number = 0
    while True:
        yield number / rate
        number += 1


class Caller:
    """Asks one address, over as many connections as that takes; `calling` makes one."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._address = parts.hostname, parts.port
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._loop = asyncio.get_running_loop()
        self._free: list[_Connection] = []

    async def run(self, moments: Iterator[float], is_over: Callable[[float], bool]) -> list[Answer]:
        """Asks at each of the moments until, at one of them, it is over. Returns when all are answered, in order."""
        began = perf_counter()
        asked = []
        for moment in moments:
            if is_over(moment):
                break
            if (early := began + moment - perf_counter()) > 0:
                await asyncio.sleep(early)
            asked.append(self._loop.create_task(self._ask(began + moment)))
        return list(await asyncio.gather(*asked))

    async def ask(self) -> Answer:
        return await self._ask(perf_counter())

    async def _ask(self, due: float) -> Answer:
        due_at = time() - (perf_counter() - due)
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = self._connection() or await self._connect()
                status, body = await connection.ask(self._request)
        except (OSError, TimeoutError) as error:
            return Answer(due_at, (perf_counter() - due) * 1000, 0, repr(error))
        latency_ms = (perf_counter() - due) * 1000
        connection.free_since = perf_counter()
        self._free.append(connection)
        return Answer(due_at, latency_ms, status, body.decode(errors="replace"))

    def _connection(self) -> "_Connection | None":
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed and perf_counter() - connection.free_since < MAX_IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await self._loop.create_connection(_Connection, *self._address)
        return connection

    def close(self) -> None:
        for connection in self._free:
            connection.close()


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Caller]:
    caller = Caller(url)
    try:
        yield caller
    finally:
        caller.close()


class _Connection(asyncio.Protocol):
    """One answer after the other, each with a Content-Length: less than any HTTP library does, and less in the way."""

    def __init__(self) -> None:
        self.free_since = 0.0
        self.is_closed = False
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Raises ConnectionError."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        status, *fields = head.split(b"\r\n")
        length = next((int(field[15:]) for field in fields if field[:15].lower() == b"content-length:"), None)
        if length is None:
            self._fail(ConnectionError("an answer without Content-Length"))
        elif len(body) >= length:
            self._received = b""
            if not self._answer.done():
                self._answer.set_result((int(status.split()[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._fail(exc or ConnectionResetError("closed without an answer"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
