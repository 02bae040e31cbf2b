import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest
from tests.support.postgres import Server

from outlast.database import migrations
from outlast.database.connections import Database, DatabaseError

SCHEMA = Path(migrations.__file__).parent / "schema.sql"


async def test_nodes_that_start_together_migrate_once(postgres: Server) -> None:
    url = await postgres.new_database()
    connections = await asyncio.gather(*(Database(lambda: url).connect() for _ in range(6)))
    found = await connections[0].fetch("select number, name from outlast.migrations order by number")
    assert [(row["number"], row["name"]) for row in found] == [(one.number, one.name) for one in migrations.known()]
    assert [await migrations.migrate(connection) for connection in connections] == [[]] * 6
    for connection in connections:
        await connection.close()


async def test_the_schema_is_what_the_migrations_make(postgres: Server) -> None:
    """`schema.sql` is for people to read. To write it anew: this dump."""
    url = await postgres.new_database()
    await (await Database(lambda: url).connect()).close()
    dump = await asyncio.to_thread(dumped, postgres, url)
    assert dump == SCHEMA.read_text()


def dumped(postgres: Server, url: str) -> str:
    program = postgres.embedded._programs / "pg_dump"
    command = [program, "--schema-only", "--schema=outlast", "--no-owner", "--no-privileges", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    statements = [line for line in text.splitlines() if line and not line.startswith(("--", "SET ", "SELECT ", "\\"))]
    return "\n".join(statements) + "\n"


def test_they_are_numbered_without_a_gap() -> None:
    assert [one.number for one in migrations.known()] == [*range(1, len(migrations.known()) + 1)]


async def test_a_migration_that_fails_leaves_nothing_behind(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await postgres.new_database()
    first = migrations.known()[0]
    broken = migrations.Migration(first.number + 1, "broken", "create table outlast.half (a int); select nonsense;")
    monkeypatch.setattr(migrations, "known", lambda: (first, broken))
    with pytest.raises(DatabaseError, match="nonsense"):
        await Database(lambda: url).connect()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("select to_regclass('outlast.tasks') is null")
    await connection.close()


async def test_who_may_not_make_the_schema_is_told(postgres: Server) -> None:
    url = await postgres.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("create role visitor login password 'visitor'")
    await connection.close()
    place, _, name = url.rpartition("@")[2].partition("/")
    with pytest.raises(DatabaseError, match="permission denied"):
        await Database(lambda: f"postgresql://visitor:visitor@{place}/{name}").connect()
