"""What a node does for the ledger besides writing: signs of life, closing lost nodes, deleting old records."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from outlast.core.records import Retention, first_id
from outlast.ledger import sql
from outlast.ledger.siblings import LockedSiblings
from outlast.ledger.trouble import Trouble

BEAT_EVERY_S = 3.0
LOST_AFTER_S = 15.0
FORGET_EVERY_S = 60.0
FORGET_WITHIN_S = 300.0
"""For each statement: to count 15 million tasks takes longer than others may."""
FORGET_AT_ONCE = 2_000


class Upkeep:
    """One for a node. Every method raises what asyncpg raises."""

    def __init__(
        self,
        node: str,
        siblings: LockedSiblings | None,
        retention: Retention,
        silence: Trouble,
        leftovers: Trouble,
        *,
        lost_after_s: float,
    ) -> None:
        """``silence``: what is wrong with this node's signs of life; ``leftovers``: with closing lost nodes."""
        self.node = node
        self._siblings = siblings
        self.retention = retention
        self._lost_after_s = lost_after_s
        self._started = datetime.now(UTC)
        self._silence = silence
        self._leftovers = leftovers
        self._refused_s = 0.0
        """The age of the connection when it last took no sign of life."""

    async def beat(self, connection: "asyncpg.Connection", *, connected_s: float) -> int:
        """Says that this node is alive, and closes those that are not. Returns how many tasks those had open.

        Where the database refuses either, that is told, and no error.

        ``connected_s``: the age of this connection.
        """
        self._refused_s = min(self._refused_s, connected_s)
        try:
            await connection.execute(sql.BEAT, self.node, self._started)
        except asyncpg.PostgresError as error:
            if connection.is_closed():
                raise
            self._refused_s = connected_s
            self._silence.goes_on(error, is_refusal=True)
            return 0
        self._silence.ends()
        try:
            lost = await self._close_lost(connection, heard_s=connected_s - self._refused_s)
        except asyncpg.PostgresError as error:
            if connection.is_closed():
                raise
            self._leftovers.goes_on(error, is_refusal=True)
            return 0
        self._leftovers.ends()
        return lost

    async def _close_lost(self, connection: "asyncpg.Connection", *, heard_s: float) -> int:
        """``heard_s``: for how long this node's signs of life have been taken. One that was itself cut off from the
        database cannot judge whether others are gone: they need as much time to report.
        """
        departed = [*self._siblings.departed()] if self._siblings is not None else []
        patience_s = self._lost_after_s if heard_s >= self._lost_after_s else float(10 * 365 * 86_400)
        async with connection.transaction():
            if departed:
                await connection.execute(sql.KNOW_DEPARTED, departed)
            found = await connection.fetch(sql.FIND_LOST, self.node, departed, patience_s)
            lost = await self._lose(connection, [row["id"] for row in found]) if found else 0
        if self._siblings is not None:
            self._siblings.forget(departed)
        return lost

    async def end(self, connection: "asyncpg.Connection") -> None:
        """This node ends, and with it everything whose end it could not write."""
        async with connection.transaction():
            await self._lose(connection, [UUID(self.node)])

    async def _lose(self, connection: "asyncpg.Connection", nodes: Sequence[UUID]) -> int:
        """Returns how many tasks they had open."""
        updated = await connection.execute(sql.LOSE_TASKS, nodes)
        await connection.execute(sql.LOSE_WORKERS, nodes)
        await connection.execute(sql.END_NODES, nodes)
        # PostgreSQL's command status, such as ``UPDATE 3``.
        return int(updated.rpartition(" ")[2])

    async def forget(self, connection: "asyncpg.Connection") -> int:
        """Deletes records beyond the retention. Returns how many that were."""
        keep_days = self.retention.days
        # By the database's clock: a node whose own is wrong would delete the records of all.
        now = await connection.fetchval("select now()")
        by_age = first_id(now - timedelta(days=keep_days)) if keep_days else None
        batched = await connection.fetchval(sql.COUNT_BATCHED, timeout=FORGET_WITHIN_S)
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
        found = await connection.fetchval(statement, count, timeout=FORGET_WITHIN_S)
        return str(found) if found is not None else None

    async def _forget_before(self, connection: "asyncpg.Connection", table: str, first_kept: str) -> int:
        forgotten = 0
        while True:
            deleted = await connection.fetchrow(sql.forget(table), first_kept, FORGET_AT_ONCE, timeout=FORGET_WITHIN_S)
            forgotten += int(deleted["records"])
            if deleted["rows"] < FORGET_AT_ONCE:
                return forgotten
