"""Writes what a node tells the ledger, for as long as the node runs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import asyncpg

from outlast.core.records import RequestRecord, WorkerRecord
from outlast.ledger.buffer import BATCH
from outlast.ledger.presence import Presence
from outlast.ledger.sink import Sink, TaskSink
from outlast.ledger.sql import SINGLE
from outlast.ledger.trouble import UNREACHABLE, Report, Trouble

GATHER_S, GATHER_UNDER_LOAD_S = 0.1, 0.15
"""Records are written together that come within this time, and under load the time that it takes to write those before
(`outlast.ledger.sink.SPREAD_S`): each time has a price of its own, of some 3 ms."""
MANY = 200
"""So many records that were written at a time are load."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Between two attempts to connect."""


class Writer:
    """Takes batches out of the buffers of its sinks and writes them, over a connection of its own."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection"]],
        presence: Presence,
        trouble: Trouble,
        report: Report,
        capacity: int,
    ) -> None:
        """``trouble``: hears whether records are taken. ``capacity``: how many of a kind may wait."""
        self._connect = connect
        self._presence = presence
        self._trouble = trouble
        refuse = partial(report, is_trouble=True)
        self.tasks = TaskSink(capacity, self._wake, refuse)
        self.workers: Sink[WorkerRecord] = Sink("workers", capacity, self._wake, refuse)
        self.requests: Sink[RequestRecord] = Sink("requests", capacity, self._wake, refuse)
        self.sinks: dict[str, Sink[Any]] = {SINGLE: self.tasks, "workers": self.workers, "requests": self.requests}
        self.is_in_reach = False
        """Whether there is a connection, and all that had waited for it has been written or refused."""
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        """There is something to write."""
        self._haste = asyncio.Event()
        """There is no time to gather more of it."""
        self._pause_s = FIRST_PAUSE_S
        self._asked: list[asyncio.Future[None]] = []
        """Those who wait until what was told before is written."""
        self._finishing = self._under_load = False

    @property
    def backlog(self) -> int:
        """How many records wait to be written."""
        return sum(len(sink.buffer) + sink.in_flight for sink in self.sinks.values())

    @property
    def written(self) -> int:
        return sum(sink.written for sink in self.sinks.values())

    @property
    def dropped(self) -> int:
        """How many records were never written, for want of room or because the database refused them."""
        return sum(sink.refused + sink.buffer.dropped for sink in self.sinks.values())

    async def catch_up(self, within_s: float) -> None:
        """Returns when what was told before is written or refused, or out of reach, or this time is over."""
        if self.is_in_reach and self.backlog:
            done = self._loop.create_future()
            self._asked.append(done)
            self._hurry()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done, within_s)

    def finish(self) -> None:
        """Has `run` write what there is, and return."""
        self._finishing = True
        self._hurry()

    async def run(self) -> None:
        """Writes until `finish`, or until it is cancelled. Raises nothing that a database can cause."""
        try:
            await self._write_over_connections()
        except Exception as error:
            self._lose_reach(error, is_refusal=False)
            raise

    def _wake(self) -> None:
        self._news.set()
        if any(sink.at_most >= BATCH for sink in self.sinks.values()):
            self._haste.set()

    def _hurry(self) -> None:
        self._news.set()
        self._haste.set()

    async def _write_over_connections(self) -> None:
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
        looked_at, look_every_s = self._loop.time(), self._presence.beat_every_s
        await self._presence.begin(connection)
        # There may be something from before. Only when it is written, open records too, is all well: a database with a
        # full disk, for example, still answers, and takes signs of life.
        waiting = self._try_again()
        self._under_load = False
        await self._write_batches(connection)
        self.is_in_reach = True
        self._pause_s = FIRST_PAUSE_S
        self._judge(waiting)
        self._wake()
        while True:
            await self._wait_for_news(looked_at + look_every_s - self._loop.time())
            is_last, before = self._finishing, self.written
            if is_last:
                waiting = self._try_again()
            while await self._write_batches(connection):
                pass
            self._judge(waiting)
            self._under_load = self.written - before >= MANY
            if any(sink.has_work for sink in self.sinks.values()):
                # What was left for the next time.
                self._news.set()
            if is_last:
                await self._presence.end(connection)
                return True
            if (now := self._loop.time()) >= looked_at + look_every_s:
                looked_at = now
                await self._presence.beat_if_due(connection)
                if not self._presence.is_heard:
                    # The tables may be gone, or another server be the one to write to: that shows on connecting.
                    return False
                if not self._trouble.is_over:
                    waiting = self._try_again()
                    self._wake()

    async def _wait_for_news(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), max(at_most_s, 0))
            if not self._finishing:
                gather_s = GATHER_UNDER_LOAD_S if self._under_load else GATHER_S
                await asyncio.wait_for(self._haste.wait(), gather_s)
        self._news.clear()
        self._haste.clear()

    async def _write_batches(self, connection: "asyncpg.Connection") -> bool:
        """One of each kind. Returns whether there is another."""
        asked, self._asked = self._asked, []
        is_all = all(sink.at_most <= BATCH for sink in self.sinks.values())
        at_once = bool(asked) or self._finishing or not self._under_load
        count = 0
        try:
            for sink in self.sinks.values():
                if sink.has_work:
                    count += await sink.write(connection, at_once=at_once)
                    # Where several tables are locked, this node must not be taken for lost before all have been tried.
                    await self._presence.beat_if_due(connection)
        except BaseException:
            self._asked += asked
            raise
        if not is_all:
            self._asked += asked
            return count > 0
        _answer(asked)
        return count > 0 and any(sink.at_most >= BATCH for sink in self.sinks.values())

    def _try_again(self) -> int:
        """What the database has refused, too. Returns how many records wait."""
        for sink in self.sinks.values():
            sink.try_again()
        return self.backlog

    def _judge(self, waiting: int) -> None:
        """Says whether all is well, now that something has been written or refused; ``waiting``: so many had waited."""
        refusals = [sink.refusal for sink in self.sinks.values() if sink.refusal]
        if refusals:
            self._trouble.goes_on(refusals[0], is_refusal=True)
        elif not self._trouble.is_over:
            self._trouble.ends(f"; {waiting} are being written")

    def _lose_reach(self, error: BaseException, *, is_refusal: bool) -> None:
        self.is_in_reach = False
        asked, self._asked = self._asked, []
        _answer(asked)
        self._trouble.goes_on(error, is_refusal=is_refusal)


def _answer(asked: Iterable[asyncio.Future[None]]) -> None:
    for done in asked:
        if not done.done():
            done.set_result(None)
