"""The ledger in PostgreSQL: outlives the node, and is shared by all nodes that use the same database.

Theory of operation. What the node tells goes into the ring in memory and into buffers, and that is all that it waits
for. One task, the writer, takes batches out of the buffers and writes them. A batch that could not be written goes back
to where it came from, and is written again after the next connection, in a way that does no harm twice. If the
database refuses records of a kind, all of that kind wait for the node's next sign of life, and hold up no others. While
there is no connection, or the kind is refused, questions are answered from the ring.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
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
from outlast.ledger.buffer import BATCH, R
from outlast.ledger.ledger import DEFAULT_LIMIT, Status, TooMany
from outlast.ledger.memory import MemoryLedger, P, checked
from outlast.ledger.siblings import LockedSiblings
from outlast.ledger.sink import Sink, TaskSink
from outlast.ledger.sql import SINGLE
from outlast.ledger.trouble import PATIENCE_S, UNREACHABLE, Report, Trouble, Troubles
from outlast.ledger.upkeep import BEAT_EVERY_S, FORGET_EVERY_S, LOST_AFTER_S, Upkeep

DEFAULT_CAPACITY = 100_000
"""Tasks that wait for a database that is out of reach: some 60 MB."""
GATHER_S, GATHER_UNDER_LOAD_S = 0.1, 0.15
"""Records are written together that come within this time, and under load the time that it takes to write those before
(`outlast.ledger.sink.SPREAD_S`): each time has a price of its own, of some 3 ms."""
MANY = 200
"""So many records that were written at a time are load."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Between two attempts to connect."""
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
        self._connect = connect
        self._report = report
        made = partial(Trouble, report, name=name, first_patience_s=first_patience_s, is_lasting=is_lasting)
        self._troubles = Troubles(made, capacity)
        self._upkeep = Upkeep(
            node, siblings, retention, self._troubles.silence, self._troubles.leftovers, lost_after_s=lost_after_s
        )
        self._beat_every_s = min(BEAT_EVERY_S, lost_after_s / 3)
        self._ring = MemoryLedger()
        self._remember_task = self._ring.task_started
        self._news = asyncio.Event()
        self._full = asyncio.Event()
        refuse = partial(report, is_trouble=True)
        tasks = TaskSink(SINGLE, capacity, self._wake, refuse)
        workers: Sink[WorkerRecord] = Sink("workers", capacity, self._wake, refuse)
        requests: Sink[RequestRecord] = Sink("requests", capacity, self._wake, refuse)
        self._sinks: dict[str, Sink[Any]] = {SINGLE: tasks, "workers": workers, "requests": requests}
        self._workers, self._requests = workers.buffer, requests.buffer
        self._add_task = tasks.buffer.add_open
        self.tasks_settled = tasks.buffer.add_ended
        self._loop = asyncio.get_running_loop()
        self._is_in_reach = False
        self._pause_s = FIRST_PAUSE_S
        self._connected_at = self._beaten_at = 0.0
        self._caught_up: list[asyncio.Future[None]] = []
        self._closing = self._under_load = False
        self._asking = Asking(connect, self._troubles.questions)
        self._known = self._ended = False
        """Whether the database may know of this node, and that it has ended."""
        self._side_tasks = [
            self._loop.create_task(self._write_for_ever(), name="write the ledger"),
            self._loop.create_task(self._forget_for_ever(), name="forget what is old"),
        ]
        for task in self._side_tasks:
            task.add_done_callback(self._tell_of_defect)

    # What the node tells.

    def task_started(self, record: TaskRecord) -> None:
        self._remember_task(record)
        self._add_task(record)

    def worker_started(self, record: WorkerRecord) -> None:
        self._ring.worker_started(record)
        self._workers.add(record)

    def worker_changed(self, record: WorkerRecord) -> None:
        self._workers.add(record)

    def request_ended(self, record: RequestRecord) -> None:
        self._ring.request_ended(record)
        self._requests.add(record)

    @property
    def status(self) -> Status:
        return Status(
            backend="postgres",
            connected=self._troubles.records.is_over,
            backlog=sum(len(sink.buffer) + sink.in_flight for sink in self._sinks.values()),
            written=self._written,
            dropped=sum(sink.refused + sink.buffer.dropped for sink in self._sinks.values()),
            error=self._troubles.error,
        )

    @property
    def _written(self) -> int:
        return sum(sink.written for sink in self._sinks.values())

    @property
    def is_done(self) -> bool:
        """Whether the database has nothing of this node that goes on."""
        return self._ended or not self._known

    def keep(self, retention: Retention) -> None:
        """From now on no more than this."""
        self._upkeep.retention = retention

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
        return self._is_in_reach and not self._sinks[table].refusal

    async def _ask(self, table: str, text: str, values: list[object]) -> list[Any] | None:
        """The rows; None where the database has no answer."""
        await self._catch_up()
        if not self._answers(table):
            return None
        return await self._asking.rows(text, values, ASK_WITHIN_S)

    async def _catch_up(self) -> None:
        if self._is_in_reach and self.status.backlog:
            done: asyncio.Future[None] = self._loop.create_future()
            self._caught_up.append(done)
            self._wake()
            self._full.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done, ASK_WITHIN_S)

    # The writer.

    def _wake(self) -> None:
        self._news.set()
        if any(sink.at_most >= BATCH for sink in self._sinks.values()):
            self._full.set()

    async def _write_for_ever(self) -> None:
        is_over = False
        while not is_over:
            try:
                connection = await self._connect()
            except UNREACHABLE as error:
                self._lose_reach(error, is_refusal=False)
            else:
                try:
                    is_over = await self._write_to(connection)
                except UNREACHABLE as error:
                    answers = isinstance(error, asyncpg.PostgresError) and not connection.is_closed()
                    self._lose_reach(error, is_refusal=answers)
                finally:
                    connection.terminate()
            if not is_over:
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _write_to(self, connection: "asyncpg.Connection") -> bool:
        """Returns whether this was the end, with all written that is not refused. If not, it wants a new connection."""
        self._connected_at = looked_at = self._loop.time()
        self._known = True
        await self._beat(connection, looked_at)
        # There may be something from before. Only when it is written, open records too, is all well: a database with a
        # full disk, for example, still answers, and takes signs of life.
        waiting = self._try_again()
        self._under_load = False
        await self._write_batches(connection)
        self._is_in_reach = True
        self._pause_s = FIRST_PAUSE_S
        self._judge(waiting)
        self._wake()
        while True:
            await self._wait_for_news(looked_at + self._beat_every_s - self._loop.time())
            closing, before = self._closing, self._written
            if closing:
                waiting = self._try_again()
            while await self._write_batches(connection):
                pass
            self._judge(waiting)
            self._under_load = self._written - before >= MANY
            if any(sink.has_work for sink in self._sinks.values()):
                # What was left for the next time.
                self._news.set()
            now = self._loop.time()
            if closing:
                await self._end(connection, now)
                return True
            if now >= looked_at + self._beat_every_s:
                looked_at = now
                await self._beat_if_due(connection, now)
                if not self._troubles.silence.is_over:
                    # The tables may be gone, or another server be the one to write to: that shows on connecting.
                    return False
                if not self._troubles.records.is_over:
                    waiting = self._try_again()
                    self._wake()

    async def _end(self, connection: "asyncpg.Connection", now: float) -> None:
        if not self._troubles.silence.is_over:
            await self._beat(connection, now)
        if self._troubles.silence.is_over:
            await self._upkeep.end(connection)
            self._ended = True

    async def _beat_if_due(self, connection: "asyncpg.Connection", now: float) -> None:
        if now >= self._beaten_at + self._beat_every_s:
            await self._beat(connection, now)

    async def _beat(self, connection: "asyncpg.Connection", now: float) -> None:
        self._beaten_at = now
        lost = await self._upkeep.beat(connection, connected_s=now - self._connected_at)
        if lost:
            text = f"{lost} background tasks of a server that is gone were open: they are interrupted (node_lost)"
            self._report(text, is_trouble=True)

    def _try_again(self) -> int:
        """What the database has refused, too. Returns how many records wait."""
        for sink in self._sinks.values():
            sink.try_again()
        return self.status.backlog

    def _judge(self, waiting: int) -> None:
        """Says whether all is well, now that something has been written or refused; ``waiting``: so many had waited."""
        refusals = [sink.refusal for sink in self._sinks.values() if sink.refusal]
        if refusals:
            self._troubles.records.goes_on(refusals[0], is_refusal=True)
        elif not self._troubles.records.is_over:
            self._troubles.records.ends(f"; {waiting} are being written")

    async def _wait_for_news(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), max(at_most_s, 0))
            if not self._closing:
                gather_s = GATHER_UNDER_LOAD_S if self._under_load else GATHER_S
                await asyncio.wait_for(self._full.wait(), gather_s)
        self._news.clear()
        self._full.clear()

    async def _write_batches(self, connection: "asyncpg.Connection") -> bool:
        """One of each kind. Returns whether there is another."""
        asked, self._caught_up = self._caught_up, []
        is_all = all(sink.at_most <= BATCH for sink in self._sinks.values())
        at_once = bool(asked) or self._closing or not self._under_load
        count = 0
        try:
            for sink in self._sinks.values():
                if sink.has_work:
                    count += await sink.write(connection, at_once=at_once)
                    # Where several tables are locked, this node must not be taken for lost before all have been tried.
                    await self._beat_if_due(connection, self._loop.time())
        except BaseException:
            self._caught_up += asked
            raise
        if not is_all:
            self._caught_up += asked
            return count > 0
        for done in asked:
            if not done.done():
                done.set_result(None)
        return count > 0 and any(sink.at_most >= BATCH for sink in self._sinks.values())

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            if not self._is_in_reach:
                continue
            try:
                await self.forget()
            except UNREACHABLE as error:
                self._troubles.growth.goes_on(error, is_refusal=True)
            else:
                self._troubles.growth.ends()

    async def forget(self) -> int:
        """Deletes what is older, or more, than is to be kept. Done every minute; raises what asyncpg raises."""
        connection = await self._connect()
        try:
            return await self._upkeep.forget(connection)
        finally:
            connection.terminate()

    # What the user hears of it.

    def _lose_reach(self, error: BaseException, *, is_refusal: bool) -> None:
        self._is_in_reach = False
        for done in self._caught_up:
            if not done.done():
                done.set_result(None)
        self._caught_up.clear()
        self._troubles.records.goes_on(error, is_refusal=is_refusal)

    def _tell_of_defect(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            if task is self._side_tasks[0]:
                self._lose_reach(error, is_refusal=False)
            self._loop.call_exception_handler({"message": f"could not {task.get_name()}", "exception": error})

    # The end.

    async def close(self, within_s: float = 2.0) -> None:
        writer = self._side_tasks[0]
        self._closing = True
        self._wake()
        self._full.set()
        if self._is_in_reach:
            await asyncio.wait([writer], timeout=within_s)
        # More than once: asyncpg first waits for a rollback, and a rollback that fails takes the cancellation's place.
        pending = {*self._side_tasks}
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_EVERY_S)
        self._asking.close()
        unwritten = self.status.backlog
        if unwritten:
            self._report(f"{unwritten} records of the ledger could not be written before the end", is_trouble=True)
