"""Deletes old records, so that the ledger does not grow for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg

from outlast.core import ids
from outlast.core.records import Retention
from outlast.ledger import sql
from outlast.ledger.trouble import UNREACHABLE, Trouble

EVERY_S = 60.0
WITHIN_S = 300.0
"""For each statement: to count 15 million tasks takes longer than others may."""
AT_ONCE = 2_000
"""Rows that a statement deletes."""


class Forgetting:
    """Over connections of its own: it may take long."""

    def __init__(
        self, connect: Callable[[], Awaitable["asyncpg.Connection"]], retention: Retention, trouble: Trouble
    ) -> None:
        """``trouble``: hears whether records can be deleted."""
        self.retention = retention
        self._connect = connect
        self._trouble = trouble

    async def run(self, is_in_reach: Callable[[], bool]) -> None:
        """Deletes records every minute, until it is cancelled. Raises nothing that a database can cause."""
        while True:
            await asyncio.sleep(EVERY_S)
            if not is_in_reach():
                continue
            try:
                await self.forget()
            except UNREACHABLE as error:
                self._trouble.goes_on(error, is_refusal=True)
            else:
                self._trouble.ends()

    async def forget(self) -> int:
        """Deletes records beyond the retention. Returns how many that were. Raises what asyncpg raises."""
        connection = await self._connect()
        try:
            return await self._forget(connection)
        finally:
            connection.terminate()

    async def _forget(self, connection: "asyncpg.Connection") -> int:
        keep_days = self.retention.days
        # By the database's clock: a node whose own is wrong would delete the records of all.
        now = await connection.fetchval("select now()")
        by_age = ids.first_of(now - timedelta(days=keep_days)) if keep_days else None
        batched = await connection.fetchval(sql.COUNT_BATCHED, timeout=WITHIN_S)
        first_task = await self._first_kept(
            connection, sql.SINGLE, self.retention.tasks, sql.FIRST_KEPT_TASK, elsewhere=batched
        )
        first_request, first_worker = [
            await self._first_kept(connection, table, self.retention.requests, sql.first_kept(table))
            for table in ("requests", "workers")
        ]
        forgotten = 0
        for table, by_count in (
            (sql.SINGLE, first_task),
            ("task_batches", first_task),
            ("requests", first_request),
            ("workers", first_worker),
            ("nodes", None),
        ):
            if given := [bound for bound in (by_age, by_count) if bound is not None]:
                forgotten += await self._forget_before(connection, table, max(given))
        return forgotten

    async def _first_kept(
        self, connection: "asyncpg.Connection", table: str, count: int, statement: str, *, elsewhere: int = 0
    ) -> str | None:
        """Counting through an index is expensive, so the planner's estimate is consulted first.

        ``elsewhere``: how many of these records are in another table.
        """
        if not count:
            return None
        estimate = await connection.fetchval(sql.ESTIMATE, f"outlast.{table}")
        # Never counted is -1, before PostgreSQL 14 it was 0.
        if 0 < estimate < count * 0.8 - elsewhere:
            return None
        found = await connection.fetchval(statement, count, timeout=WITHIN_S)
        return str(found) if found is not None else None

    async def _forget_before(self, connection: "asyncpg.Connection", table: str, first_kept: str) -> int:
        forgotten = 0
        while True:
            deleted = await connection.fetchrow(sql.forget(table), first_kept, AT_ONCE, timeout=WITHIN_S)
            forgotten += int(deleted["records"])
            if deleted["rows"] < AT_ONCE:
                return forgotten
