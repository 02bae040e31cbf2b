"""Migrates the schema ``outlast`` with numbered SQL files, each of which is run once."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import asyncpg

LOCK = 0x6F75746C617374  # "outlast"
"""For pg_advisory_xact_lock: nodes that are started together migrate one after the other."""
WITHIN_S = 900.0
"""A new index takes some seconds for millions of records, and more on a slow disk."""

_BEGIN = """
    create table if not exists outlast.migrations (
        number integer primary key,
        name text not null,
        applied timestamptz not null default now()
    );
"""


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    sql: str


@cache
def known() -> tuple[Migration, ...]:
    """In order."""
    files = (
        file for file in resources.files(__package__).joinpath("migrations").iterdir() if file.name.endswith(".sql")
    )
    return tuple(
        Migration(int(file.name[:4]), file.name[5:-4], file.read_text("utf-8"))
        for file in sorted(files, key=lambda file: file.name)
    )


async def migrate(connection: "asyncpg.Connection") -> list[Migration]:
    """Runs the migrations that this database lacks; all of them or, if one fails, none. Returns them.

    If none is lacking, it writes nothing, and only needs the right to read.
    """
    newest = known()[-1].number
    if await connection.fetchval("select to_regclass('outlast.migrations') is not null") and await connection.fetchval(
        "select exists (select from outlast.migrations where number = $1)", newest
    ):
        return []
    async with connection.transaction():
        # The user may have a limit for everyday statements.
        await connection.execute("set local statement_timeout = 0")
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK, timeout=WITHIN_S)
        # With "if not exists", the owner of the schema would need the right to make one.
        if not await connection.fetchval("select to_regnamespace('outlast') is not null"):
            await connection.execute("create schema outlast")
        await connection.execute(_BEGIN)
        there = {row["number"] for row in await connection.fetch("select number from outlast.migrations")}
        missing = [migration for migration in known() if migration.number not in there]
        for migration in missing:
            await connection.execute(migration.sql, timeout=WITHIN_S)
            await connection.execute(
                "insert into outlast.migrations (number, name) values ($1, $2)", migration.number, migration.name
            )
    return missing
