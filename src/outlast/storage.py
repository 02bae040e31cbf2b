"""What a node stores, and where: wires the ledger with the database that it and the functions use."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from outlast.config.settings import LedgerSettings, Project
from outlast.core import ids
from outlast.core.records import MAX_ERROR_CHARS, RequestRecord, printable
from outlast.database.choice import EMBEDDED, OFF, check
from outlast.gateway.ports import Served
from outlast.ledger.ledger import Ledger
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.siblings import LockedSiblings
from outlast.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from outlast.database.embedded import EmbeddedServer
    from outlast.ledger.postgres import PostgresLedger

FIRST_PATIENCE_S = 1.0
"""A database of the user's that is out of reach for so long at first may be another than he means."""


class Storage:
    """Create it inside a running event loop. Serving does not wait for any of it."""

    def __init__(self, database: str, project: Project, log: Log) -> None:
        """Blocks for a moment. ``database``: the value of ``--database``. Raises OutlastError."""
        check(database)
        self.node = ids.uuid7(time.time_ns() // 1_000_000, random.SystemRandom().getrandbits(ids.RANDOM_BITS))
        """This node's id, a new one at each start."""
        self._settings = project.ledger
        self._log = log
        self.on_moved: Callable[[], None] = lambda: None
        """Called when `functions_url` has changed."""
        self._embedded: EmbeddedServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._siblings: LockedSiblings | None = None
        self._postgres: PostgresLedger | None = None
        self._second = self._sampled = 0
        self.ledger: Ledger = MemoryLedger()
        if database != OFF:
            self._open(database, project)

    def _open(self, database: str, project: Project) -> None:
        # asyncpg alone takes as long to load as everything that a request needs.
        from outlast.database.connections import Database, is_lasting
        from outlast.database.embedded import EmbeddedServer, EmbeddedServerError
        from outlast.ledger.postgres import PostgresLedger
        from outlast.ledger.trouble import PATIENCE_S

        embedded = None
        folder = project.state_dir / "pg"
        if database == EMBEDDED:
            try:
                embedded = EmbeddedServer(folder, self._warn, lambda: self.on_moved())
            except EmbeddedServerError as error:
                self._warn(f"there is no database, and the ledger ends with this server: {error}")
                return
        self._embedded = embedded
        self._siblings = _siblings(project.state_dir, self.node)
        self.ledger = self._postgres = PostgresLedger(
            Database(lambda: embedded.ledger_url if embedded is not None else database).connect,
            self.node,
            report=self._tell,
            name="the ledger's database" + (f" in {folder}" if embedded is not None else ""),
            siblings=self._siblings,
            retention=project.ledger.retention,
            # The embedded one takes a second for its first start, and has no databases until then.
            first_patience_s=FIRST_PATIENCE_S if embedded is None else PATIENCE_S,
            is_lasting=is_lasting if embedded is None else lambda _: False,
        )

    @property
    def functions_url(self) -> str | None:
        """The URL of the functions' own database, if there is one for them."""
        return self._embedded.functions_url if self._embedded is not None else None

    async def run(self) -> None:
        """Runs the embedded database, if there is one, until `close`. Never raises."""
        if self._embedded is not None:
            self._serving = asyncio.create_task(self._embedded.run(), name="run the embedded database")
            await asyncio.wait([self._serving])

    def use(self, settings: LedgerSettings) -> None:
        """Applies new settings."""
        self._settings = settings
        if self._postgres is not None:
            self._postgres.forgetting.retention = settings.retention

    def samples(self, status: int) -> bool:
        """Whether a request that has ended so just now is to be recorded. Call it once for each."""
        if 0 < status < 500:
            second = int(time.time())
            if self._second != second:
                self._second, self._sampled = second, 0
            if self._sampled >= self._settings.requests_per_s:
                return False
            self._sampled += 1
        return True

    def request_served(self, served: Served) -> None:
        """Records a request that has ended just now."""
        first_byte_ms = served.first_byte_ms
        if first_byte_ms is None and served.status:
            first_byte_ms = served.ms
        self.ledger.request_ended(
            RequestRecord(
                id=served.request_id,
                function=served.function or None,
                execution_id=served.execution_id or None,
                node=self.node,
                method=served.method,
                path=served.path,
                status=served.status,
                # By the same clock as its tasks, so that none of them seems to have started earlier.
                received=ids.moment_of(served.request_id),
                first_byte_ms=first_byte_ms,
                ms=served.ms,
                error=printable(served.why, MAX_ERROR_CHARS),
            )
        )

    async def close(self) -> None:
        """Writes what is left, and ends the embedded database."""
        await self.ledger.close()
        if self._siblings is not None and self._postgres is not None:
            self._siblings.close(is_done=self._postgres.presence.is_done)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    def _tell(self, text: str, *, is_trouble: bool) -> None:
        self._log.emit("ledger", level=Level.WARNING if is_trouble else Level.INFO, msg=text)

    def _warn(self, text: str) -> None:
        self._log.emit("database", level=Level.WARNING, msg=text)


def _siblings(state_dir: Path, node: str) -> LockedSiblings | None:
    """None if the project's folder is not writable: then a lost node is recognised only by its silence."""
    with contextlib.suppress(OSError):
        return LockedSiblings(state_dir / "nodes", node)
    return None
