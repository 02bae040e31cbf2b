"""Tasks of which there are many alike are kept together, and nobody can tell."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from tests.ledger import samples
from tests.ledger.node import Node, node, session
from tests.ledger.test_contract import everything, ids_of

from outlast.core.outcome import TaskOutcome
from outlast.core.records import Retention, TaskQuery, TaskRecord
from outlast.database.connections import Database
from outlast.ledger import batching
from outlast.ledger.ledger import Ledger
from outlast.ledger.sink import TaskSink

COUNT = 2_000
FEWEST, MOST = 3, 40


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FEWEST", FEWEST)
    monkeypatch.setattr(batching, "MOST", MOST)


def many(count: int, node: str = samples.NODE) -> list[TaskRecord]:
    """In the order in which they settle. Each was started up to a second before the one that settles after it."""
    begin = samples.BEGIN.replace(microsecond=0)
    chance = random.Random(7)
    records = []
    for number in range(count):
        at = begin + timedelta(milliseconds=5 * number - chance.randrange(1_000))
        records.append(
            samples.task(
                chance.choice(["hello", "hello", "bye"]),
                at,
                node=node,
                name=chance.choice(["mail", "mail", "log", None]),
                request_id=samples.new_id(at - timedelta(milliseconds=chance.choice([0, 0, 20, 10_000]))),
            )
        )
    return records


async def batched(connection: "asyncpg.Connection") -> int:
    """How many tasks are in batches."""
    return int(await connection.fetchval("select coalesce(sum(count), 0) from outlast.task_batches"))


class TestQueries:
    @pytest_asyncio.fixture
    async def records(self, ledger: Ledger) -> list[TaskRecord]:
        records = many(COUNT)
        for number, record in enumerate(records):
            ledger.task_started(record)
            if number % 50:
                outcome = TaskOutcome.FULFILLED if number % 20 else TaskOutcome.REJECTED
                ledger.tasks_settled([samples.settled(record, outcome)])
            if number % 700 == 0:
                # What there is so far is written.
                await ledger.task(record.id)
        return sorted(records, key=lambda record: record.id)

    async def test_pages_counts_and_single_ones(self, ledger: Ledger, records: list[TaskRecord]) -> None:
        first, last = records[0].started, records[-1].started
        later = first + (last - first) / 3
        some = random.Random(5).sample(records, 20)
        queries = [
            *(TaskQuery(), TaskQuery(function="hello"), TaskQuery(function="bye", name="log"), TaskQuery(name="mail")),
            *(TaskQuery(is_open=True), TaskQuery(is_open=False), TaskQuery(function="no-such")),
            *(TaskQuery(outcome=TaskOutcome.FULFILLED), TaskQuery(outcome=TaskOutcome.REJECTED, function="hello")),
            *(TaskQuery(since=later), TaskQuery(until=later), TaskQuery(since=last)),
            TaskQuery(since=later, until=later + timedelta(milliseconds=777), function="hello"),
            *(TaskQuery(request_id=record.request_id) for record in some),
            TaskQuery(request_id=some[0].request_id, function=some[0].function, since=first),
            TaskQuery(request_id=samples.new_id(later)),
        ]
        for query in queries:
            expected = [record for record in reversed(records) if query.predicate()(record)]
            for limit in (50, 1_000):
                assert await everything(ledger, query, limit) == expected
            if expected:
                assert ids_of(await ledger.tasks(query, limit=1)) == [expected[0].id]
                middle = expected[len(expected) // 2].id
                below = [record.id for record in expected if record.id < middle]
                assert ids_of(await ledger.tasks(query, middle, 7)) == below[:7]
            counted = Counter((record.function, record.outcome) for record in expected)
            assert {(one.function, one.outcome): one.count for one in await ledger.counts(query)} == counted
        for record in some:
            assert await ledger.task(record.id) == record
        assert await ledger.task(samples.new_id(later)) is None


@pytest_asyncio.fixture
async def connection(url: str) -> AsyncIterator["asyncpg.Connection"]:
    await (await Database(lambda: url).connect()).close()
    async with session(url) as connection:
        yield connection


async def test_with_sql_they_are_tasks_like_others(url: str, connection: "asyncpg.Connection") -> None:
    async with node(url) as there:
        records = many(200, there.id)
        for record in records:
            samples.tell_settled(there.ledger, record)
        await there.until_written()
        assert await batched(connection) > 50
        assert await connection.fetchval("select count(*) from outlast.single_tasks") > 10
        rows = await connection.fetch("select * from outlast.tasks order by id")
        assert [msgspec.convert(as_record(row), TaskRecord) for row in rows] == sorted(records, key=lambda one: one.id)
        for record in records:
            rows = await connection.fetch("select * from outlast.tasks_of($1)", record.request_id)
            assert [msgspec.convert(as_record(row), TaskRecord) for row in rows] == [record]


def as_record(row: "asyncpg.Record") -> dict[str, object]:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}


AT = samples.BEGIN.replace(microsecond=0)


@pytest.mark.parametrize(
    "request_id",
    [
        *(None, "of a kind of its own", "z" * 36, "", "-" * 36),
        *(samples.new_id(AT).upper(), f" {samples.new_id(AT)[1:]}", samples.new_id(AT)[:-1]),
        *(samples.new_id(AT - timedelta(seconds=5)), samples.new_id(AT + timedelta(seconds=1))),
    ],
    ids=["none", "words", "letters", "empty", "dashes", "capitals", "a space", "too short", "too early", "too late"],
)
async def test_what_does_not_fit_into_a_batch_is_kept_singly(
    url: str, connection: "asyncpg.Connection", request_id: str | None
) -> None:
    async with node(url) as there:
        alike = [samples.task(at=AT, node=there.id, request_id=samples.new_id(AT)) for _ in range(5)]
        other = samples.task(at=AT, node=there.id, request_id=request_id)
        for record in (*alike, other):
            samples.tell_settled(there.ledger, record)
        await there.until_written()
        for record in (*alike, other):
            assert await there.ledger.task(record.id) == record
        assert ids_of(await there.ledger.tasks(TaskQuery(request_id=alike[0].request_id))) == [alike[0].id]
        if request_id is not None:
            assert ids_of(await there.ledger.tasks(TaskQuery(request_id=request_id))) == [other.id]
        assert await batched(connection) == 5


async def test_a_name_that_no_database_can_store(url: str, connection: "asyncpg.Connection") -> None:
    async with node(url) as there:
        for name in ("half of a pair: \ud83d", "whole"):
            for _ in range(5):
                record = samples.task(at=AT, node=there.id, name=name, request_id=samples.new_id(AT))
                samples.tell_settled(there.ledger, record)
        await there.until_written()
        assert (there.ledger.status.written, there.ledger.status.dropped) == (5, 5)
        assert await batched(connection) == 5


class Breaking:
    """A connection that breaks when a batch is written: before it is, or after."""

    def __init__(self, connection: "asyncpg.Connection", *, times: Iterator[object], is_written: bool) -> None:
        self._connection = connection
        self._times = times
        self._is_written = is_written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def copy_to_table(self, table: str, **options: Any) -> None:
        breaks = table == "task_batches" and next(self._times, None) is not None
        if self._is_written or not breaks:
            await self._connection.copy_to_table(table, **options)
        if breaks:
            raise ConnectionResetError("it broke")


@pytest.mark.parametrize("is_written", [True, False])
async def test_what_was_being_written_when_a_connection_broke_is_there_once(
    url: str, connection: "asyncpg.Connection", is_written: bool
) -> None:
    times = iter(range(2))

    async def connect() -> Breaking:
        return Breaking(await Database(lambda: url).connect(), times=times, is_written=is_written)

    async with node(url, connect=connect) as there:
        records = many(200, there.id)
        for record in records:
            samples.tell_settled(there.ledger, record)
        await there.until_written()
        assert next(times, None) is None
        assert (there.ledger.status.written, there.ledger.status.dropped) == (200, 0)
        assert await batched(connection) > 50
        rows = await connection.fetch("select id::text from outlast.tasks order by id")
        assert [row["id"] for row in rows] == sorted(record.id for record in records)


async def test_what_settles_while_that_is_written_again_is_there_once(
    url: str, connection: "asyncpg.Connection"
) -> None:
    sink = TaskSink(1_000, lambda: None, pytest.fail)

    def start(count: int) -> list[TaskRecord]:
        records = [samples.task(request_id=samples.new_id()) for _ in range(count)]
        for record in records:
            sink.buffer.add(record)
        return records

    def settle(records: list[TaskRecord]) -> None:
        for record in records:
            sink.buffer.add(samples.settled(record))

    settle(start(30))
    with pytest.raises(ConnectionResetError):
        await sink.write(Breaking(connection, times=itertools.count(), is_written=False), at_once=True)
    # They settle as soon as the next write waits for something.
    asyncio.get_running_loop().call_soon(settle, start(30))
    while sink.has_work:
        await sink.write(connection, at_once=True)
    assert await connection.fetchval("select count(*) from outlast.tasks where outcome = 'fulfilled'") == 60
    assert await connection.fetchval("select count(distinct id) from outlast.tasks") == 60


async def test_what_was_never_written_is_told(url: str) -> None:
    async def connect() -> Breaking:
        return Breaking(await Database(lambda: url).connect(), times=itertools.count(), is_written=False)

    there = Node(url, connect=connect)
    for record in many(100, there.id):
        samples.tell_settled(there.ledger, record)
    await there.until(lambda: there.ledger.status.error == "it broke")
    assert there.ledger.status.backlog == 100
    await there.ledger.close(within_s=0.01)
    assert [text for text, _ in there.reports] == ["100 records of the ledger could not be written before the end"]


class TestRetention:
    async def test_by_count(self, url: str, connection: "asyncpg.Connection") -> None:
        async with node(url, retention=Retention(days=0, tasks=100)) as there:
            records = many(500, there.id)
            for record in records:
                samples.tell_settled(there.ledger, record)
            await there.until_written()
            gone = await there.ledger.forgetting.forget()
            kept = ids_of(await everything(there.ledger, TaskQuery(), 1_000))
            assert len(kept) == 500 - gone
            # All that is wanted, and the rest of the batches that it is in.
            newest = sorted((record.id for record in records), reverse=True)
            assert set(newest[:100]) <= set(kept)
            assert len(kept) <= 100 + 10 * MOST
            assert await there.ledger.forgetting.forget() == 0

    async def test_by_age(self, url: str, connection: "asyncpg.Connection") -> None:
        async with node(url, retention=Retention(days=2)) as there:
            for days in range(5):
                at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days, seconds=-30)
                for _ in range(10):
                    record = samples.task(at=at, node=there.id, request_id=samples.new_id(at))
                    samples.tell_settled(there.ledger, record)
                await there.until_written()
            assert await batched(connection) == 50
            assert await there.ledger.forgetting.forget() == 20
            assert await batched(connection) == 30
