"""A node among those that share a database: says that it is there, and closes what those had open that are gone."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from outlast.ledger import sql
from outlast.ledger.siblings import LockedSiblings
from outlast.ledger.trouble import Report, Trouble

BEAT_EVERY_S = 3.0
LOST_AFTER_S = 15.0


class Presence:
    """Every method raises what asyncpg raises; but what the database refuses to be told is no error."""

    def __init__(
        self,
        node: str,
        siblings: LockedSiblings | None,
        silence: Trouble,
        leftovers: Trouble,
        report: Report,
        *,
        lost_after_s: float,
    ) -> None:
        """``silence``: what is wrong with this node's signs of life; ``leftovers``: with closing lost nodes.

        ``lost_after_s``: a node is taken for lost that has said nothing for so long.
        """
        self.beat_every_s = min(BEAT_EVERY_S, lost_after_s / 3)
        self._node = node
        self._siblings = siblings
        self._silence = silence
        self._leftovers = leftovers
        self._report = report
        self._lost_after_s = lost_after_s
        self._started = datetime.now(UTC)
        self._now = asyncio.get_running_loop().time
        self._connected_at = self._beaten_at = 0.0
        self._refused_s = 0.0
        """The age of the connection when it last took no sign of life."""
        self._is_known = self._has_ended = False
        """Whether the database may know of this node, and that it has ended."""

    @property
    def is_heard(self) -> bool:
        """Whether the database takes this node's signs of life."""
        return self._silence.is_over

    @property
    def is_done(self) -> bool:
        """Whether the database has nothing of this node that goes on."""
        return self._has_ended or not self._is_known

    async def begin(self, connection: "asyncpg.Connection") -> None:
        """Gives the first sign of life on a new connection."""
        self._connected_at = self._now()
        self._is_known = True
        await self._beat_now(connection)

    async def beat_if_due(self, connection: "asyncpg.Connection") -> None:
        if self._now() >= self._beaten_at + self.beat_every_s:
            await self._beat_now(connection)

    async def end(self, connection: "asyncpg.Connection") -> None:
        """This node ends, and with it everything whose end it could not write."""
        if not self.is_heard:
            await self._beat_now(connection)
        if self.is_heard:
            async with connection.transaction():
                await self._lose(connection, [UUID(self._node)])
            self._has_ended = True

    async def _beat_now(self, connection: "asyncpg.Connection") -> None:
        now = self._beaten_at = self._now()
        if lost := await self.beat(connection, connected_s=now - self._connected_at):
            text = f"{lost} background tasks of a server that is gone were open: they are interrupted (node_lost)"
            self._report(text, is_trouble=True)

    async def beat(self, connection: "asyncpg.Connection", *, connected_s: float) -> int:
        """Says that this node is alive, and closes those that are not. Returns how many tasks those had open.

        ``connected_s``: the age of this connection.
        """
        self._refused_s = min(self._refused_s, connected_s)
        try:
            await connection.execute(sql.BEAT, self._node, self._started)
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
            found = await connection.fetch(sql.FIND_LOST, self._node, departed, patience_s)
            lost = await self._lose(connection, [row["id"] for row in found]) if found else 0
        if self._siblings is not None:
            self._siblings.forget(departed)
        return lost

    async def _lose(self, connection: "asyncpg.Connection", nodes: Sequence[UUID]) -> int:
        """Returns how many tasks they had open."""
        updated = await connection.execute(sql.LOSE_TASKS, nodes)
        await connection.execute(sql.LOSE_WORKERS, nodes)
        await connection.execute(sql.END_NODES, nodes)
        # PostgreSQL's command status, such as ``UPDATE 3``.
        return int(updated.rpartition(" ")[2])
