"""Writes buffered records to a table."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic

import asyncpg
import msgspec

from outlast.core.records import TaskRecord
from outlast.ledger import batching, copying, sql
from outlast.ledger.buffer import BATCH, Batch, Buffer, R

_Send = Callable[["asyncpg.Connection", Sequence[R]], Awaitable[None]]

SPREAD_S = 0.1
"""A batch that nobody waits for is sent to PostgreSQL over this time. All at once, it would keep PostgreSQL working for
up to 25 ms without a pause, in which everything else would have to share the other CPUs."""

ANSWERS_WITHIN_S = 1.0
"""A database that has not written in time answers so soon, if it is only a table that somebody has locked."""

UNWRITABLE = (
    asyncpg.DataError,
    asyncpg.UniqueViolationError,
    asyncpg.CheckViolationError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.ExclusionViolationError,
    asyncpg.exceptions.ProgramLimitExceededError,
    UnicodeEncodeError,
)
"""Errors that a record itself causes, so that trying again is of no use. A value that is missing where one must be
is none of them: every record lacks it, because somebody has added the column."""


class Sink(Generic[R]):
    """Writes the records of one kind. What ``table`` refuses waits, and all that come after it."""

    def __init__(self, table: str, capacity: int, wake: Callable[[], None], refuse: Callable[[str], None]) -> None:
        """``capacity`` and ``wake``: for its buffer. ``refuse``: called with the reason when a record is refused."""
        self.buffer: Buffer[R] = Buffer(capacity, wake)
        self.in_flight = self.written = self.refused = 0
        self.refusal: asyncpg.PostgresError | TimeoutError | None = None
        """Why the database refuses some records, until it has taken all that waited."""
        self._rests = False
        self._table = table
        self._refuse = refuse

    @property
    def at_most(self) -> int:
        """No less than the number of records to be written now, and found at once."""
        return 0 if self._rests else self.buffer.at_most

    @property
    def has_work(self) -> bool:
        return self.at_most > 0

    def try_again(self) -> None:
        """After a refusal there is no work until this is called."""
        self._rests = False

    @property
    def _unsure(self) -> int:
        """How many records may or may not have been written."""
        return 0

    async def write(self, connection: "asyncpg.Connection", *, at_once: bool) -> int:
        """Writes a batch; ``at_once``: including all open records. Returns how many records that were.

        Raises what asyncpg raises for a broken connection; then, or after a refusal, what was not written waits again.
        """
        before = self.written
        is_all = self.buffer.at_most <= BATCH
        # What was refused, open or not, is among what is tried now: one of tasks' two tables may take its part.
        at_once = at_once or self.refusal is not None
        try:
            count = await self._write_batch(connection, at_once=at_once)
        except asyncpg.PostgresError as error:
            if connection.is_closed():
                raise
            self.refusal, self._rests = error, True
            return 0
        except TimeoutError:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                await connection.execute("select 1")
            self.refusal, self._rests = TimeoutError(f"no answer in time: {self._table} may be locked"), True
            return 0
        if is_all and self.written > before:
            self.refusal = None
        return count

    async def _write_batch(self, connection: "asyncpg.Connection", *, at_once: bool) -> int:
        batch = self.buffer.take(at_once=at_once)
        count = self.in_flight = len(batch) + self._unsure
        try:
            await self._write_new(connection, batch.new, 0.0 if at_once or count >= BATCH else SPREAD_S)
            await self._insist(self._upsert, connection, batch.again)
        finally:
            self.buffer.give_back(batch)
            self.in_flight = self._unsure
        return count

    async def _write_new(self, connection: "asyncpg.Connection", new: list[R], within_s: float) -> None:
        """Writes records that cannot be there already; see `_insist`."""
        await self._insist(self._upsert, connection, new)

    async def _insist(self, send: _Send[R], connection: "asyncpg.Connection", records: list[R]) -> None:
        """Takes out of ``records`` what has been written or refused."""
        if not records:
            return
        try:
            await send(connection, records)
        except UNWRITABLE as error:
            # One bad record must not take the others with it.
            if len(records) == 1:
                self.refused += 1
                self._refuse(f"the database refuses a record of the ledger ({self._table}): {error}")
                records.clear()
                return
            middle = len(records) // 2
            parts = records[:middle], records[middle:]
            try:
                for part in parts:
                    await self._insist(send, connection, part)
            finally:
                records[:] = parts[0] + parts[1]
        else:
            self.written += len(records)
            records.clear()

    async def _upsert(self, connection: "asyncpg.Connection", records: Sequence[R]) -> None:
        await connection.execute(sql.WRITE[self._table], msgspec.json.encode(records).decode())


class TaskSink(Sink[TaskRecord]):
    """Writes tasks, which are the most numerous, with COPY: many together where they are alike, the others singly.

    If one of the two tables refuses its part, all tasks wait.
    """

    def __init__(self, capacity: int, wake: Callable[[], None], refuse: Callable[[str], None]) -> None:
        super().__init__(sql.SINGLE, capacity, wake, refuse)
        self._lots: list[list[TaskRecord]] = []
        """Groups of tasks, from `batching.split`, that are being written, or were when the connection broke. They are
        written again as they are, so that those that were there already are found out by their ids."""

    @property
    def has_work(self) -> bool:
        return super().has_work or (len(self._lots) > 0 and not self._rests)

    @property
    def _unsure(self) -> int:
        return sum(map(len, self._lots))

    async def _write_batch(self, connection: "asyncpg.Connection", *, at_once: bool) -> int:
        if self._lots:
            # Before anything is taken that could settle while this goes on, and would then be in a lot as well.
            rows, misfits = await self._encode_lots(0.0)
            self.buffer.give_back(Batch([], misfits))
            self.buffer.give_back(Batch([], await self._write_lots(connection, rows)))
        return await super()._write_batch(connection, at_once=at_once)

    async def _write_new(self, connection: "asyncpg.Connection", new: list[TaskRecord], within_s: float) -> None:
        pause_s = within_s / max(len(new), 1)
        self._lots, new[:] = batching.split(new)
        if self._lots:
            rows, misfits = await self._encode_lots(pause_s)
            new += misfits
            new += await self._write_lots(connection, rows)

        async def send(connection: "asyncpg.Connection", records: Sequence[TaskRecord]) -> None:
            source = copying.rows(records, pause_s * len(records))
            await _copy(connection, self._table, copying.COLUMNS, source, copying.ONE_BY_ONE)

        await self._insist(send, connection, new)

    async def _encode_lots(self, pause_s: float) -> tuple[list[bytes], list[TaskRecord]]:
        """Returns the rows and, taken out of the lots, what must be written singly. ``pause_s``: for each task."""
        lots: list[list[TaskRecord]] = []
        rows: list[bytes] = []
        misfits: list[TaskRecord] = []
        for lot in self._lots:
            encoded = batching.encode(lot)
            if encoded.row:
                lots.append(encoded.records)
                rows.append(encoded.row)
            misfits += encoded.others
            await asyncio.sleep(pause_s * len(lot))
        self._lots = lots
        return rows, misfits

    async def _write_lots(self, connection: "asyncpg.Connection", rows: Sequence[bytes]) -> list[TaskRecord]:
        """Writes all lots or, if the database refuses any, none. Returns what must be written singly."""
        refused: list[TaskRecord] = []
        if rows:
            try:
                await _copy(connection, "task_batches", batching.COLUMNS, copying.whole(rows))
            except asyncpg.UniqueViolationError:
                # They were there already.
                self.written += self._unsure
            except UNWRITABLE:
                refused += itertools.chain.from_iterable(self._lots)
            else:
                self.written += self._unsure
        self._lots = []
        return refused


async def _copy(
    connection: "asyncpg.Connection",
    table: str,
    columns: Sequence[str],
    source: AsyncIterator[bytes],
    where: str | None = None,
) -> None:
    await connection.copy_to_table(
        table, schema_name="outlast", source=source, columns=columns, format="binary", where=where
    )
