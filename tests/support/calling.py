"""Requests at moments fixed beforehand, whatever becomes of those before them: a slow server is not let off."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 30.0
MAX_IDLE_S = 2.0
"""Servers close connections that are idle for longer."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer(NamedTuple):
    """What came of one request."""

    status: int
    """0 if there was none."""
    text: str
    """The body, or what went wrong."""


class Caller:
    """Asks one address, over as many connections as that takes; `calling` makes one.

    It knows no bodies but those with a Content-Length: less than any HTTP library does, and less in the way.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._free: list[tuple[float, _Connection]] = []
        """Since when."""

    async def run(self, rate: float, is_over: Callable[[float], bool]) -> list[Answer]:
        """Asks ``rate`` times a second until ``is_over(seconds)``, since it began. Returns all answers, in order."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked: list[asyncio.Task[Answer]] = []
        while not is_over(moment := len(asked) / rate):
            await asyncio.sleep(began + moment - loop.time())
            asked.append(loop.create_task(self.ask()))
        return await asyncio.gather(*asked)

    async def ask(self) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = connection = self._connection() or await asyncio.open_connection(*self._address)
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None, head
                body = await reader.readexactly(int(length[1]))
        except (OSError, EOFError) as error:
            return Answer(0, repr(error))
        self._free.append((asyncio.get_running_loop().time(), connection))
        return Answer(int(head.split(maxsplit=2)[1]), body.decode(errors="replace"))

    def _connection(self) -> _Connection | None:
        while self._free:
            since, (reader, writer) = self._free.pop()
            if not reader.at_eof() and asyncio.get_running_loop().time() - since < MAX_IDLE_S:
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        for _, (_, writer) in self._free:
            writer.close()


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Caller]:
    caller = Caller(url)
    try:
        yield caller
    finally:
        caller.close()
