"""The ledger in PostgreSQL: outlives the node, and is shared by all nodes that use the same database.

Theory of operation. What the node tells goes into the ring in memory and into buffers, and that is all that it waits
for. One task (`outlast.ledger.writer`) takes batches out of the buffers and writes them. A batch that could not be
written goes back to where it came from, and is written again after the next connection, in a way that does no harm
twice. If the database refuses records of a kind, all of that kind wait for the node's next sign of life, and hold up no
others. While there is no connection, or the kind is refused, questions are answered from the ring. Another task
(`outlast.ledger.forgetting`) deletes what is old.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from outlast.core.records import (
    DEFAULT_RETENTION,
    Query,
    RequestPage,
    RequestQuery,
    RequestRecord,
    Retention,
    TaskCount,
    TaskPage,
    TaskQuery,
    TaskRecord,
    WorkerPage,
    WorkerQuery,
    WorkerRecord,
)
from outlast.ledger import queries
from outlast.ledger.asking import Asking
from outlast.ledger.buffer import R
from outlast.ledger.forgetting import Forgetting
from outlast.ledger.ledger import DEFAULT_LIMIT, P, Status, TooMany, checked
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.presence import LOST_AFTER_S, Presence
from outlast.ledger.siblings import LockedSiblings
from outlast.ledger.sql import SINGLE
from outlast.ledger.trouble import PATIENCE_S, Report, Trouble, Troubles
from outlast.ledger.writer import Writer

DEFAULT_CAPACITY = 100_000
"""Tasks that wait for a database that is out of reach: some 60 MB."""
ASK_WITHIN_S = 5.0
"""A question waits so long for what was told before it to be written, and again for its answer."""
CANCEL_EVERY_S = 0.1


class PostgresLedger:
    """Implements `outlast.ledger.ledger.Ledger`. Make it where an event loop runs."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection"]],
        node: str,
        *,
        report: Report,
        name: str = "the ledger's database",
        siblings: LockedSiblings | None = None,
        retention: Retention = DEFAULT_RETENTION,
        capacity: int = DEFAULT_CAPACITY,
        lost_after_s: float = LOST_AFTER_S,
        first_patience_s: float = PATIENCE_S,
        is_lasting: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        """``connect``: gives a connection to a database that has the schema; raises OutlastError.

        ``node``: this node's id. ``name``: what ``report`` calls the database. ``capacity``: how many tasks may wait
        to be written. ``first_patience_s``: so long the database may be out of reach before it has ever been in reach.
        ``is_lasting``: whether waiting is no help against an error; that is told at once.
        """
        self._report = report
        trouble = partial(Trouble, report, name=name, first_patience_s=first_patience_s, is_lasting=is_lasting)
        troubles = self._troubles = Troubles(trouble, capacity)
        self._ring = MemoryLedger()
        self.presence = Presence(
            node, siblings, troubles.silence, troubles.leftovers, report, lost_after_s=lost_after_s
        )
        writer = self.writer = Writer(connect, self.presence, troubles.records, report, capacity)
        self._asking = Asking(connect, troubles.questions)
        self.forgetting = Forgetting(connect, retention, troubles.growth)
        self._remember_task = self._ring.task_started
        self._add_task = writer.tasks.buffer.add_open
        self.tasks_settled = writer.tasks.buffer.add_ended
        self._loop = asyncio.get_running_loop()
        self._writing = self._begin(writer.run(), "write the ledger")
        self._side_tasks = [
            self._writing,
            self._begin(self.forgetting.run(lambda: writer.is_in_reach), "forget what is old"),
        ]

    def _begin(self, task: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        begun = self._loop.create_task(task, name=name)
        begun.add_done_callback(self._tell_of_defect)
        return begun

    def _tell_of_defect(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": f"could not {task.get_name()}", "exception": error})

    # What the node tells.

    def task_started(self, record: TaskRecord) -> None:
        self._remember_task(record)
        self._add_task(record)

    def worker_started(self, record: WorkerRecord) -> None:
        self._ring.worker_started(record)
        self.writer.workers.buffer.add(record)

    def worker_changed(self, record: WorkerRecord) -> None:
        self.writer.workers.buffer.add(record)

    def request_ended(self, record: RequestRecord) -> None:
        self._ring.request_ended(record)
        self.writer.requests.buffer.add(record)

    @property
    def status(self) -> Status:
        return Status(
            backend="postgres",
            connected=self._troubles.records.is_over,
            backlog=self.writer.backlog,
            written=self.writer.written,
            dropped=self.writer.dropped,
            error=self._troubles.error,
        )

    # What is asked.

    async def tasks(self, query: TaskQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> TaskPage:
        found = await self._page(SINGLE, TaskPage, query, cursor, limit)
        return found or await self._ring.tasks(query, cursor, limit)

    async def task(self, id: str) -> TaskRecord | None:  # noqa: A002
        # What is written may be older.
        return await self._ring.task(id) or await self._one(SINGLE, queries.task(), TaskRecord, id)

    async def requests(self, query: RequestQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> RequestPage:
        found = await self._page("requests", RequestPage, query, cursor, limit)
        return found or await self._ring.requests(query, cursor, limit)

    async def request(self, id: str) -> RequestRecord | None:  # noqa: A002
        return await self._ring.request(id) or await self._one("requests", queries.one("requests"), RequestRecord, id)

    async def workers(self, query: WorkerQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> WorkerPage:
        found = await self._page("workers", WorkerPage, query, cursor, limit)
        return found or await self._ring.workers(query, cursor, limit)

    async def counts(self, query: TaskQuery) -> list[TaskCount]:
        rows = await self._ask(SINGLE, *queries.counts(query))
        if rows is None:
            if self._answers(SINGLE):
                # What is in memory is the latest part of it, and no answer.
                raise TooMany(
                    f"the database has not counted them within {ASK_WITHIN_S:g} s ({self._troubles.questions.error}): "
                    "ask for a shorter time (since)"
                )
            return await self._ring.counts(query)
        return [msgspec.convert(dict(row), TaskCount) for row in rows]

    async def _page(self, table: str, page: type[P], query: Query, cursor: str | None, limit: int) -> P | None:
        """None where the database has no answer."""
        limit, cursor = checked(cursor, limit)
        rows = await self._ask(table, *queries.page(table, query, cursor, limit + 1))
        if rows is None:
            return None
        items = [dict(row) for row in rows[:limit]]
        return msgspec.convert({"items": items, "cursor": items[-1]["id"] if len(rows) > limit else None}, page)

    async def _one(self, table: str, text: str, kind: type[R], id_: str) -> R | None:
        try:
            UUID(id_)
        except ValueError:
            return None
        rows = await self._ask(table, text, [id_])
        return msgspec.convert(dict(rows[0]), kind) if rows else None

    def _answers(self, table: str) -> bool:
        """Whether the database can be asked; one that refuses what belongs into the table knows less than the ring."""
        return self.writer.is_in_reach and not self.writer.sinks[table].refusal

    async def _ask(self, table: str, text: str, values: list[object]) -> list[Any] | None:
        """The rows; None where the database has no answer."""
        await self.writer.catch_up(ASK_WITHIN_S)
        if not self._answers(table):
            return None
        return await self._asking.rows(text, values, ASK_WITHIN_S)

    # The end.

    async def close(self, within_s: float = 2.0) -> None:
        self.writer.finish()
        if self.writer.is_in_reach:
            await asyncio.wait([self._writing], timeout=within_s)
        # More than once: asyncpg first waits for a rollback, and a rollback that fails takes the cancellation's place.
        pending = {*self._side_tasks}
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_EVERY_S)
        self._asking.close()
        if unwritten := self.writer.backlog:
            self._report(f"{unwritten} records of the ledger could not be written before the end", is_trouble=True)
