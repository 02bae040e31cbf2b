"""Writes buffered records to a table."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

import asyncpg
import msgspec

from outlast.core.records import TaskRecord
from outlast.ledger import copying, sql
from outlast.ledger.buffer import BATCH, Buffer, R

_Send = Callable[["asyncpg.Connection", Sequence[R]], Awaitable[None]]

SPREAD_S = 0.1
"""A batch that nobody waits for is sent to PostgreSQL over this time. All at once, it would keep PostgreSQL working for
up to 25 ms without a pause, in which everything else would have to share the other CPUs."""

UNWRITABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.exceptions.ProgramLimitExceededError,
    UnicodeEncodeError,
)
"""Errors that a record itself causes, so that trying again is of no use."""


class Sink(Generic[R]):
    """Writes to one table."""

    def __init__(self, table: str, capacity: int, wake: Callable[[], None], refuse: Callable[[str], None]) -> None:
        """``capacity`` and ``wake``: for its buffer. ``refuse``: called with the reason when a record is refused."""
        self.buffer: Buffer[R] = Buffer(capacity, wake)
        self.in_flight = self.written = self.refused = 0
        self._spread_s = 0.0
        self._table = table
        self._refuse = refuse

    async def write(self, connection: "asyncpg.Connection", *, at_once: bool) -> int:
        """Writes a batch; ``at_once``: including all open records. Returns how many records that were.

        Raises what asyncpg raises; then what was not written waits again.
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
            # One bad record must not take the others with it.
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
        """Inserts records that cannot be there already."""
        await self._upsert(connection, records)

    async def _upsert(self, connection: "asyncpg.Connection", records: Sequence[R]) -> None:
        await connection.execute(sql.WRITE[self._table], msgspec.json.encode(records).decode())


class TaskSink(Sink[TaskRecord]):
    """Writes tasks, which are the most numerous, with COPY."""

    async def _insert(self, connection: "asyncpg.Connection", records: Sequence[TaskRecord]) -> None:
        await connection.copy_to_table(
            self._table,
            schema_name="outlast",
            source=copying.rows(records, self._spread_s),
            columns=copying.COLUMNS,
            format="binary",
            where=copying.ONE_BY_ONE,
        )
