"""What functions write down themselves: each worker in a file of its own, which the test reads when the worker is gone.

The file is in the worker's folder, which goes with the worker. So the test is told of it first, and opens it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

PATIENCE_S = 30

TYPESCRIPT = """
const [hostname, port] = Deno.env.get("JOURNAL")!.split(":");
const reader = await Deno.connect({ hostname, port: Number(port) });
const encoder = new TextEncoder();
const path = Deno.makeTempFileSync();
const file = Deno.openSync(path, { append: true });
await reader.write(encoder.encode(path));
await reader.read(new Uint8Array(1));

function note(what: string, name: string): void {
  file.writeSync(encoder.encode(`${what} ${name}\\n`));
}

function call(): void {
  reader.write(encoder.encode("now"));
}
"""
PYTHON = """
import os
import socket
import tempfile

host, _, port = os.environ["JOURNAL"].rpartition(":")
reader = socket.create_connection((host, int(port)))
file, path = tempfile.mkstemp()
reader.sendall(path.encode())
reader.recv(1)


def note(what: str, name: str) -> None:
    os.write(file, f"{what} {name}\\n".encode())


def call() -> None:
    reader.sendall(b"now")
"""


class Page(asyncio.Protocol):
    """Of one worker: lines of two words."""

    def __init__(self) -> None:
        self.has_called = asyncio.Event()
        self.is_complete = asyncio.Event()
        self._file: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._file is not None:
            self.has_called.set()
            return
        self._file = os.open(data.decode(), os.O_RDONLY)
        self._transport.write(b".")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_complete.set()

    def read(self) -> list[tuple[str, str]]:
        if self._file is None:
            return []
        with os.fdopen(self._file) as file:
            return [(first, second) for first, second in map(str.split, file)]


class Journal:
    address: str

    def __init__(self) -> None:
        self._pages: list[Page] = []
        self._news = asyncio.Event()

    def new_page(self) -> Page:
        self._pages.append(Page())
        self._news.set()
        return self._pages[-1]

    async def call(self) -> None:
        """Until the first worker of all has called."""
        async with asyncio.timeout(PATIENCE_S):
            await self._news.wait()
            await self._pages[0].has_called.wait()

    async def read(self) -> list[list[tuple[str, str]]]:
        """Each worker's, when all of them are gone."""
        async with asyncio.timeout(PATIENCE_S):
            for page in self._pages:
                await page.is_complete.wait()
        return [page.read() for page in self._pages]


@asynccontextmanager
async def open_journal() -> AsyncIterator[Journal]:
    journal = Journal()
    async with await asyncio.get_running_loop().create_server(journal.new_page, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        journal.address = f"{host}:{port}"
        yield journal
