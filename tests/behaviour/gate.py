"""The place that the work of functions waits at, so that a test and not a clock decides when it ends."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit


class Arrival:
    """One piece of work that waits."""

    def __init__(self, path: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self.body = body
        self._reader = reader
        self._writer = writer

    def let_go(self, text: str = "", status: str = "200 OK") -> None:
        """Answers the work's request with ``text``, which is what it has waited for."""
        data = text.encode()
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
        self._writer.write(head.encode() + data)
        self._writer.close()

    async def gone(self, timeout: float = 20) -> None:
        """Waits until the work has given up by itself, or died."""
        async with asyncio.timeout(timeout):
            assert await self._reader.read(1) == b""
        self._writer.close()

    @property
    def waits(self) -> bool:
        return not (self._writer.is_closing() or self._reader.at_eof())


class Gate:
    """An HTTP server. Work arrives with a request for ``/NAME``, or for ``/?work=NAME``."""

    url: str

    def __init__(self) -> None:
        self._arrived: defaultdict[str, asyncio.Queue[Arrival]] = defaultdict(asyncio.Queue)
        self._all: list[Arrival] = []

    async def arrival(self, name: str, timeout: float = 20) -> Arrival:
        """The next work of this name, when it has come."""
        try:
            async with asyncio.timeout(timeout):
                return await self._arrived[name].get()
        except TimeoutError:
            others = sorted(arrival.path for arrival in self._all)
            raise AssertionError(f"{name} did not come within {timeout} s; there came: {others}") from None

    def has_come(self, name: str) -> bool:
        return not self._arrived[name].empty()

    def forget(self) -> None:
        """What has come so far is of no interest to the next test: it may go."""
        for arrival in self._all:
            if arrival.waits:
                arrival.let_go()
        self._all.clear()
        self._arrived.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        request, *lines = head.strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        target = urlsplit(request.split(" ")[1])
        name = parse_qs(target.query).get("work", [target.path.strip("/")])[0]
        arrival = Arrival(target.path, body, reader, writer)
        self._all.append(arrival)
        self._arrived[name].put_nowait(arrival)


@asynccontextmanager
async def open_gate() -> AsyncIterator[Gate]:
    gate = Gate()
    server = await asyncio.start_server(gate._serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    gate.url = f"http://{host}:{port}"
    try:
        yield gate
    finally:
        gate.forget()
        server.close()
