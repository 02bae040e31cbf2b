"""How what waits for a table gets there."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

import asyncpg
import msgspec

from outlast.core.records import TaskRecord
from outlast.ledger import copying, sql
from outlast.ledger.buffer import BATCH, Buffer, R

_Send = Callable[["asyncpg.Connection", Sequence[R]], Awaitable[None]]

SPREAD_S = 0.1
"""A batch that nobody waits for is given to PostgreSQL over this time. All at once, it would be at work for as long as
25 ms without a pause, in which everything else shares the other CPUs."""

UNWRITABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.exceptions.ProgramLimitExceededError,
    UnicodeEncodeError,
)
"""Errors that are of a record's making, so that trying again is no use."""


class Sink(Generic[R]):
    """Of one table."""

    def __init__(self, table: str, capacity: int, wake: Callable[[], None], refuse: Callable[[str], None]) -> None:
        """``capacity`` and ``wake``: of its buffer. ``refuse``: told why a record was."""
        self.buffer: Buffer[R] = Buffer(capacity, wake)
        self.in_flight = self.written = self.refused = 0
        self._spread_s = 0.0
        self._table = table
        self._refuse = refuse

    async def write(self, connection: "asyncpg.Connection", *, at_once: bool) -> int:
        """A batch of what waits; ``at_once``: with all that is open. Returns how many records that were.

        Raises what asyncpg raises; then what is not written waits again.
        """
        batch = self.buffer.take(at_once=at_once)
        count = self.in_flight = len(batch)
        self._spread_s = SPREAD_S if not at_once and count < BATCH else 0.0
        try:
            await self._insist(self._insert, connection, batch.new)
            batch.new.clear()
            await self._insist(self._upsert, connection, batch.again)
            batch.again.clear()
        finally:
            self.buffer.give_back(batch)
            self.in_flight = 0
        return count

    async def _insist(self, send: _Send[R], connection: "asyncpg.Connection", records: Sequence[R]) -> None:
        if not records:
            return
        try:
            await send(connection, records)
        except UNWRITABLE as error:
            # One bad record shall not take the others with it.
            if len(records) == 1:
                self.refused += 1
                self._refuse(f"the database refuses a record of the ledger ({self._table}): {error}")
                return
            middle = len(records) // 2
            await self._insist(send, connection, records[:middle])
            await self._insist(send, connection, records[middle:])
        else:
            self.written += len(records)

    async def _insert(self, connection: "asyncpg.Connection", records: Sequence[R]) -> None:
        """None of them can be there already."""
        await self._upsert(connection, records)

    async def _upsert(self, connection: "asyncpg.Connection", records: Sequence[R]) -> None:
        await connection.execute(sql.WRITE[self._table], msgspec.json.encode(records).decode())


class TaskSink(Sink[TaskRecord]):
    """Of the tasks, of which there are the most."""

    async def _insert(self, connection: "asyncpg.Connection", records: Sequence[TaskRecord]) -> None:
        await connection.copy_to_table(
            self._table,
            schema_name="outlast",
            source=copying.rows(records, self._spread_s),
            columns=copying.COLUMNS,
            format="binary",
            where=copying.ONE_BY_ONE,
        )
