"""Asks the ledger's database, over a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from outlast.ledger.trouble import UNREACHABLE, Trouble


class Asking:
    """One question at a time."""

    def __init__(self, connect: Callable[[], Awaitable["asyncpg.Connection"]], trouble: Trouble) -> None:
        """``trouble``: hears whether there are answers."""
        self._connect = connect
        self._trouble = trouble
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def rows(self, text: str, values: list[object], within_s: float) -> list[Any] | None:
        """None if there is no answer in time."""
        try:
            async with asyncio.timeout(within_s), self._turn:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                rows: list[Any] = await self._connection.fetch(text, *values)
        except UNREACHABLE as error:
            self.close()
            self._trouble.goes_on(error, is_refusal=True)
            return None
        self._trouble.ends()
        return rows

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
