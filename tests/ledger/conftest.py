import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from tests.ledger import samples
from tests.support.postgres import Server

from outlast.database.connections import Database
from outlast.ledger import postgres as module
from outlast.ledger import sql, writer
from outlast.ledger.ledger import Ledger
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.postgres import PostgresLedger

PATIENCE_S = 20


@pytest.fixture(autouse=True)
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 0.01)
    monkeypatch.setattr(writer, "GATHER_UNDER_LOAD_S", 0.01)


@pytest_asyncio.fixture
async def url(postgres: Server) -> str:
    """Of a database of this test's own."""
    return await postgres.new_database()


@pytest_asyncio.fixture(scope="session")
async def shared_url(postgres: Server) -> str:
    """Of a database for tests that empty it."""
    return await postgres.new_database()


@pytest.fixture(params=["memory", "postgres"])
def backend(request: pytest.FixtureRequest) -> str | None:
    """The URL of the database that the ledger is kept in."""
    return None if request.param == "memory" else str(request.getfixturevalue("shared_url"))


@pytest_asyncio.fixture
async def ledger(backend: str | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """Each of the ledgers, empty."""
    if backend is None:
        yield MemoryLedger()
        return
    # So that no answer comes from memory where the database has none.
    monkeypatch.setattr(module, "MemoryLedger", lambda: MemoryLedger(capacity=0))
    database = Database(lambda: backend)
    connection: asyncpg.Connection = await database.connect()
    # With few rows much faster than `truncate`.
    await connection.execute(
        "".join(f"delete from outlast.{table};" for table in ("nodes", "task_batches", *sql.TABLES))
    )
    await connection.close()
    troubles: list[str] = []
    made = PostgresLedger(database.connect, samples.NODE, report=lambda text, is_trouble: troubles.append(text))
    async with asyncio.timeout(PATIENCE_S):
        while not made.status.connected:  # noqa: ASYNC110, its users have no need to be told
            await asyncio.sleep(0.001)
    yield made
    await made.close()
    assert made.status.dropped == 0
    assert made.presence.is_done
    assert troubles == []
