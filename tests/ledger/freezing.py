"""A network on the way to the database that goes dead in the middle of a sentence."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Freezing:
    """Passes everything on until it hears what it was told to freeze at, and from then on nothing."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.url = ""
        self.freeze_at: str | None = None
        self.frozen = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(self._to.hostname, self._to.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, to_there))
                group.create_task(self._pass(there, writer))
        finally:
            to_there.close()
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await source.read(1 << 16):
                if self.freeze_at is not None and self.freeze_at.encode() in some:
                    self.frozen.set()
                if not self.frozen.is_set():
                    sink.write(some)
            sink.close()

    def at(self, host: str, port: int) -> str:
        """The URL of the same database by way of this address."""
        user = self._to.netloc.rpartition("@")[0]
        return self._to._replace(netloc=f"{user}@{host}:{port}").geturl()


@contextlib.asynccontextmanager
async def freezing(url: str) -> AsyncIterator[Freezing]:
    made = Freezing(url)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = made.at(*server.sockets[0].getsockname())
    try:
        yield made
    finally:
        server.close()
