"""A real PostgreSQL server for the tests of a session, and a database for each that wants one."""

import asyncio
import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg

from outlast.database.embedded import EmbeddedServer

_PATIENCE_S = 20


class Server:
    def __init__(self, embedded: EmbeddedServer) -> None:
        self.embedded = embedded
        self._numbers = itertools.count()

    async def new_database(self) -> str:
        """Returns its URL."""
        name = f"test_{next(self._numbers)}"
        connection = await connected(self.embedded.ledger_url)
        # Writing the files of an empty database to the log, as it does otherwise, takes longer than copying them.
        await connection.execute(f"create database {name} strategy = file_copy")
        await connection.close()
        return f"{self.embedded.ledger_url.rpartition('/')[0]}/{name}"


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="outlast-pg-") as folder:
        embedded = EmbeddedServer(Path(folder, "pg"), report=print)
        running = asyncio.create_task(embedded.run())
        try:
            connection = await connected(lambda: embedded.ledger_url)
            # Nothing of it is to outlive the machine.
            await connection.execute("alter system set fsync = off")
            await connection.execute("select pg_reload_conf()")
            await connection.close()
            yield Server(embedded)
        finally:
            running.cancel()
            await asyncio.wait([running])


async def connected(url: str | Callable[[], str]) -> "asyncpg.Connection":
    """Waits for the server to accept connections. The URL may change meanwhile."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await asyncpg.connect(url if isinstance(url, str) else url(), timeout=2)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
