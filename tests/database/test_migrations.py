import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest
from tests.ledger import samples
from tests.support.postgres import Server

from outlast.core.records import TaskQuery
from outlast.database import connections, migrations
from outlast.database.connections import Database, DatabaseError
from outlast.ledger import queries, sql

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


async def test_what_is_there_is_found_after_them(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await postgres.new_database()
    begin = samples.BEGIN
    at_once, later = (samples.new_id(begin) for _ in range(2))
    records = [
        samples.settled(samples.task(at=begin, request_id=at_once)),
        samples.settled(samples.task(at=begin + timedelta(minutes=1), request_id=later)),
        samples.task(at=begin, request_id="of another kind"),
        samples.task(at=begin),
    ]
    first = migrations.known()[0]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "known", lambda: (first,))
        connection = await Database(lambda: url).connect()
    await connection.execute(
        sql.WRITE[sql.SINGLE].replace("single_tasks", "tasks"), msgspec.json.encode(records).decode()
    )
    reader = f"reader_{at_once[-12:]}"
    await connection.execute(f"create role {reader}; grant usage on schema outlast to {reader}")
    await connection.execute(f"grant select on outlast.tasks to {reader}, public")
    assert [one.number for one in await migrations.migrate(connection)] == [
        one.number for one in migrations.known()[1:]
    ]
    await connection.execute(f"set role {reader}")
    assert await connection.fetchval("select count(*) from outlast.tasks") == len(records)
    assert len(await connection.fetch("select * from outlast.tasks_of($1)", at_once)) == 1
    await connection.execute(f"reset role; drop owned by {reader}; drop role {reader}")
    for record in records[:3]:
        text, values = queries.page(sql.SINGLE, TaskQuery(request_id=record.request_id), None, 10)
        assert [row["id"] for row in await connection.fetch(text, *values)] == [record.id]
    await connection.close()


async def test_they_may_take_longer_than_other_commands(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await postgres.new_database()
    known = migrations.known()
    slow = migrations.Migration(len(known) + 1, "slow", "select pg_sleep(0.7)")
    monkeypatch.setattr(migrations, "known", lambda: (*known, slow))
    monkeypatch.setattr(connections, "COMMAND_WITHIN_S", 0.5)
    connection = await asyncpg.connect(url)
    await connection.execute(f"alter database {url.rpartition('/')[2]} set statement_timeout = '0.5 s'")
    await connection.close()
    await (await Database(lambda: url).connect()).close()


async def test_the_owner_of_the_schema_needs_no_right_to_make_one(postgres: Server) -> None:
    url = await postgres.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("create role keeper login password 'keeper'; create schema outlast authorization keeper")
    await (await Database(lambda: f"postgresql://keeper:keeper@{url.rpartition('@')[2]}").connect()).close()
    assert await connection.fetchval("select to_regclass('outlast.tasks') is not null")
    await connection.close()


async def test_who_may_not_make_the_schema_is_told(postgres: Server) -> None:
    url = await postgres.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("create role visitor login password 'visitor'")
    await connection.close()
    place, _, name = url.rpartition("@")[2].partition("/")
    with pytest.raises(DatabaseError, match="permission denied"):
        await Database(lambda: f"postgresql://visitor:visitor@{place}/{name}").connect()
