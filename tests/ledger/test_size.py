"""However many records there are: a page costs the same, and no more are kept than is wanted."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo

import asyncpg
import pytest
import pytest_asyncio
from tests.ledger import samples
from tests.ledger.node import node, session
from tests.support.postgres import Server

from outlast.core import ids
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import RequestQuery, Retention, TaskQuery, WorkerQuery
from outlast.database import connections
from outlast.database.connections import Database
from outlast.ledger import forgetting, queries, sql

ROWS = 30_000
DELETING = """
create function deleting() returns trigger language plpgsql as $$ begin {}; end $$;
create trigger deleting before delete on outlast.requests for each row execute function deleting();
"""
MOST_READ = 4_096
"""Rows: as many as there are in the time that the id of a request leaves open."""
FILL = f"""
    insert into outlast.single_tasks
        (id, function, language, name, request_id, execution_id, node, started, settled, outcome, reason, ms)
    select
        (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
        'function-' || n % 7, 'python', nullif('name-' || n % 11, 'name-0'),
        case n % 30 when 0 then 'request-' || n % 3000
             -- Three of each, nearly all of them started at once.
             else (lpad(to_hex(1700000000000 + n - n % 3 - 60000 * (n % 30 = 1)::int), 12, '0')
                 || '7000' || '9000' || lpad(to_hex(n - n % 3), 12, '0'))::uuid::text end,
        '{samples.NODE}', '{samples.NODE}', now(), now(),
        case when n % 1000 = 0 then null when n % 97 = 0 then 'rejected' when n % 89 = 0 then 'interrupted'
             else 'fulfilled' end,
        case when n % 1000 <> 0 and n % 97 <> 0 and n % 89 = 0 then 'crash' end, 5
    from generate_series(1, {ROWS}) n;
    analyze outlast.single_tasks;
"""
FILL_BATCHES = f"""
    insert into outlast.task_batches
        (last_id, first_id, function, language, name, execution_id, node, count, ids, request_ids, settled, ms)
    select max(id::text)::uuid, min(request_id::text)::uuid, 'function-' || lot % 7, 'python',
        nullif('name-' || lot % 11, 'name-0'), '{samples.NODE}', '{samples.NODE}',
        count(*), array_agg(id), array_agg(request_id), array_agg(now()), array_agg(5)
    from (
        select n / 250 as lot,
            (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8001' || lpad(to_hex(n), 12, '0'))::uuid as id,
            (lpad(to_hex(1699999999999 + n), 12, '0') || '7000' || '8001' || lpad(to_hex(n), 12, '0'))::uuid
                as request_id
        from generate_series(1, {ROWS}) n
    ) as task
    group by lot;
    analyze outlast.task_batches;
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filled(postgres: Server) -> AsyncIterator["asyncpg.Connection"]:
    url = await postgres.new_database()
    connection = await Database(lambda: url).connect()
    await connection.execute(FILL)
    await connection.execute(FILL_BATCHES)
    yield connection
    await connection.close()


MIDDLE = datetime.fromtimestamp(1_700_000_000 + ROWS / 2_000, UTC)
QUERIES = [
    TaskQuery(),
    TaskQuery(function="function-3"),
    TaskQuery(name="name-3"),
    TaskQuery(request_id="request-600"),
    TaskQuery(request_id=ids.uuid7(1_700_000_000_603, 603)),
    TaskQuery(request_id=ids.uuid7(1_700_000_000_603, 603), function="function-1"),
    TaskQuery(request_id=ids.uuid7(1_700_000_000_603, (1 << 48) + 604)),
    TaskQuery(outcome=TaskOutcome.REJECTED),
    TaskQuery(outcome=TaskOutcome.FULFILLED),
    TaskQuery(outcome=TaskOutcome.TIMED_OUT),
    TaskQuery(reason=EndReason.CRASH),
    TaskQuery(is_open=True),
    TaskQuery(is_open=False),
    TaskQuery(function="function-3", outcome=TaskOutcome.REJECTED),
    TaskQuery(function="function-3", outcome=TaskOutcome.FULFILLED),
    TaskQuery(function="function-3", name="name-3"),
    TaskQuery(function="function-3", is_open=True),
    TaskQuery(name="name-3", outcome=TaskOutcome.REJECTED),
    TaskQuery(function="function-3", name="name-3", outcome=TaskOutcome.REJECTED),
    TaskQuery(since=MIDDLE),
    TaskQuery(until=MIDDLE),
    TaskQuery(function="function-3", since=MIDDLE, until=MIDDLE + timedelta(seconds=1)),
    TaskQuery(function="no-such"),
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: "+".join(map(str, query.fields.items())) or "times")
@pytest.mark.parametrize("with_cursor", [False, True], ids=["first page", "next page"])
async def test_a_page_reads_little_more_than_what_is_on_it(
    filled: "asyncpg.Connection", query: TaskQuery, with_cursor: bool
) -> None:
    cursor = None
    if with_cursor:
        cursor = str(await filled.fetchval("select id from outlast.tasks order by id offset $1 limit 1", ROWS // 2))
    await assert_reads_little(filled, *queries.page(sql.SINGLE, query, cursor, 101))


async def test_so_does_a_question_for_a_task_or_a_request(filled: "asyncpg.Connection") -> None:
    number = (1 << 48) + 20_000
    task, request = ids.uuid7(1_700_000_020_000, number), ids.uuid7(1_700_000_019_999, number)
    assert [row["request_id"] for row in await assert_reads_little(filled, queries.task(), [task])] == [request]
    [row] = await assert_reads_little(filled, "select * from outlast.tasks_of($1)", [request])
    assert str(row["id"]) == task


async def assert_reads_little(
    connection: "asyncpg.Connection", text: str, values: list[object]
) -> list["asyncpg.Record"]:
    """Returns what is found."""
    plan = "\n".join(row[0] for row in await connection.fetch(f"explain (analyze, timing off) {text}", *values))
    assert "Index" in plan
    assert "Seq Scan on single_tasks" not in plan, plan
    read = [float(rows) * int(loops) for rows, loops in re.findall(r"actual rows=([\d.]+) loops=(\d+)", plan)]
    assert max(read) <= MOST_READ, plan
    return list(await connection.fetch(text, *values))


async def test_requests_too(filled: "asyncpg.Connection") -> None:
    await filled.execute("set enable_seqscan = off")
    try:
        for query in (RequestQuery(), RequestQuery(function="f"), RequestQuery(status=500), RequestQuery(status=0)):
            text, values = queries.page("requests", query, None, 10)
            plan = "\n".join(row[0] for row in await filled.fetch(f"explain {text}", *values))
            assert "Seq Scan" not in plan, plan
    finally:
        await filled.execute("reset enable_seqscan")


class TestRetention:
    async def test_by_count_and_nothing_that_is_open(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forgetting, "AT_ONCE", 10)
        async with node(url, retention=Retention(days=0, tasks=20, requests=5)) as there:
            open_one = samples.task(at=samples.BEGIN, node=there.id)
            there.ledger.task_started(open_one)
            for number in range(100):
                at = samples.BEGIN + timedelta(seconds=1 + number)
                samples.tell_settled(there.ledger, samples.task(at=at))
                there.ledger.request_ended(samples.request(at=at))
                there.ledger.worker_started(samples.worker(at=at, ended=at))
            there.ledger.worker_started(samples.worker(at=samples.BEGIN))
            await there.until_written()
            assert await there.ledger.forgetting.forget() == 80 + 95 + 95
            kept = (await there.ledger.tasks(TaskQuery())).items
            assert len(kept) == 21
            assert kept[-1].id == open_one.id
            assert len((await there.ledger.requests(RequestQuery())).items) == 5
            assert [one.is_open for one in (await there.ledger.workers(WorkerQuery())).items] == [*[False] * 5, True]

    async def test_by_age(self, url: str) -> None:
        async with node(url, retention=Retention(days=2)) as there:
            now = datetime.now(UTC)
            for days in range(5):
                at = now - timedelta(days=days, seconds=-30)
                samples.tell_settled(there.ledger, samples.task(at=at))
                there.ledger.worker_started(samples.worker(at=at, ended=at))
            await there.until_written()
            assert await there.ledger.forgetting.forget() == 2 * 2
            async with session(url) as connection:
                assert await connection.fetchval("select count(*) from outlast.tasks") == 3

    async def test_a_node_whose_clock_is_years_ahead_deletes_nothing(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Ahead(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Ahead":
                return super().now(tz) + timedelta(days=3_650)

        monkeypatch.setattr(forgetting, "datetime", Ahead, raising=False)
        async with node(url, retention=Retention(days=2)) as there:
            samples.tell_settled(there.ledger, samples.task())
            await there.until_written()
            assert await there.ledger.forgetting.forget() == 0

    async def test_it_may_take_longer_than_other_statements(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async with node(url, retention=Retention(requests=1)) as there:
            for _ in range(2):
                there.ledger.request_ended(samples.request(node=there.id))
            await there.until_written()
            async with session(url) as connection:
                await connection.execute(DELETING.format("perform pg_sleep(0.7); return old"))
            monkeypatch.setattr(connections, "COMMAND_WITHIN_S", 0.5)
            assert await there.ledger.forgetting.forget() == 1

    async def test_that_nothing_can_be_deleted_is_told_of_once(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forgetting, "EVERY_S", 0.01)
        async with (
            node(url, retention=Retention(requests=1), is_lasting=lambda _: True) as there,
            session(url) as other,
        ):
            await there.until_connected()
            await other.execute(DELETING.format("raise exception 'not that'"))
            for _ in range(3):
                there.ledger.request_ended(samples.request(node=there.id))
            await there.until(lambda: there.reports)
            await other.execute("drop trigger deleting on outlast.requests")
            await there.until(lambda: len(there.reports) == 2)
        [(told, is_trouble), (again, is_trouble_again)] = there.reports
        assert "refuses the deletion of old records (not that): they stay, and the ledger grows" in told
        assert again.endswith("takes the deletion of old records again")
        assert (is_trouble, is_trouble_again) == (True, False)

    async def test_all_is_kept_where_that_is_wanted(self, url: str) -> None:
        async with node(url, retention=Retention(days=0, tasks=0, requests=0)) as there:
            samples.tell_settled(there.ledger, samples.task(at=datetime(1999, 1, 1, tzinfo=UTC)))
            await there.until_written()
            assert await there.ledger.forgetting.forget() == 0
