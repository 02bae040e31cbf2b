"""What stands for a node here: a ledger, and what it reports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
from tests.ledger import samples

from outlast.database.connections import Database
from outlast.ledger.postgres import PostgresLedger

PATIENCE_S = 20


class Node:
    def __init__(self, url: str, **options: Any) -> None:
        self.id = samples.new_id()
        self.url = url
        self.reports: list[tuple[str, bool]] = []
        options.setdefault("connect", Database(lambda: url).connect)
        self.ledger = PostgresLedger(
            node=self.id, report=lambda text, is_trouble: self.reports.append((text, is_trouble)), **options
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110, there is nobody who could tell
                await asyncio.sleep(0.005)

    async def until_connected(self) -> None:
        await self.until(lambda: self.ledger.status.connected)

    async def until_written(self) -> None:
        await self.until(lambda: self.ledger.status.connected and not self.ledger.status.backlog)

    async def die(self) -> None:
        """As by kill -9: without another word."""
        for task in self.ledger._side_tasks:
            task.cancel()
        await asyncio.wait(self.ledger._side_tasks)


@contextlib.asynccontextmanager
async def node(url: str, **options: Any) -> AsyncIterator[Node]:
    made = Node(url, **options)
    try:
        yield made
    finally:
        await made.ledger.close()


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator["asyncpg.Connection"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


Connect = Callable[[], Awaitable["asyncpg.Connection"]]
