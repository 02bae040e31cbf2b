"""A database that is slow, down, or gone in the middle of a sentence costs nothing but patience."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tests.ledger import samples
from tests.ledger.freezing import Freezing, freezing
from tests.ledger.node import Node, node, session

from outlast.core.records import RequestQuery, TaskQuery, WorkerQuery
from outlast.database import connections
from outlast.database.connections import COMMAND_WITHIN_S, Database, DatabaseError, is_lasting
from outlast.ledger import postgres as module
from outlast.ledger import sql, trouble, writer
from outlast.ledger.ledger import TooMany
from outlast.ledger.presence import Presence
from outlast.ledger.siblings import LockedSiblings
from outlast.ledger.sink import TaskSink
from outlast.ledger.trouble import Trouble

REFUSING = """
create sequence refused;
create function refuse() returns trigger language plpgsql as
    $$ begin
        perform nextval('refused');
        raise exception using errcode = 'disk_full', message = 'the disk is full';
    end $$;
create trigger refuse before insert on outlast.single_tasks for each statement execute function refuse();
"""
"""Counts the attempts, whatever becomes of them."""
RAISES = "raise exception using errcode = 'disk_full', message = 'the disk is full'"
HANGS_UP = "perform pg_terminate_backend(pg_backend_pid())"


@pytest_asyncio.fixture
async def other(url: str) -> AsyncIterator["asyncpg.Connection"]:
    """Another session of the same database, with the tables there."""
    await (await Database(lambda: url).connect()).close()
    async with session(url) as connection:
        yield connection


def tell(there: Node, count: int, **fields: object) -> list[str]:
    records = [samples.task(node=there.id, **fields) for _ in range(count)]
    for record in records:
        there.ledger.task_started(record)
        there.ledger.tasks_settled([samples.settled(record)])
    return [record.id for record in records]


async def kept(connection: "asyncpg.Connection") -> list[str]:
    rows = await connection.fetch("select id::text from outlast.tasks where outcome = 'fulfilled' order by id")
    return [row["id"] for row in rows]


async def test_down_at_first_everything_is_written_when_it_is_up(url: str) -> None:
    is_up = False

    async def connect() -> "asyncpg.Connection":
        if not is_up:
            raise DatabaseError("it is down")
        return await Database(lambda: url).connect()

    async with node(url, connect=connect, first_patience_s=0.0) as there:
        told = tell(there, 50)
        await there.until(lambda: there.reports)
        assert "it is down" in there.reports[0][0]
        status = there.ledger.status
        assert (status.connected, status.backlog, status.written, status.error) == (False, 50, 0, "it is down")
        # Meanwhile the memory answers.
        assert len((await there.ledger.tasks(TaskQuery())).items) == 50
        is_up = True
        await there.until_written()
        assert [is_trouble for _, is_trouble in there.reports] == [True, False]
        assert there.ledger.status.written == 50
        async with session(url) as connection:
            assert await kept(connection) == sorted(told)


async def test_an_error_that_nobody_foresaw_is_not_kept_secret() -> None:
    async def connect() -> "asyncpg.Connection":
        raise ZeroDivisionError("nobody foresaw this")

    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(f"{context['message']}: {context['exception']}"))
    try:
        async with node("", connect=connect) as there:
            await there.until(lambda: told)
            assert there.ledger.status.error == "nobody foresaw this"
    finally:
        loop.set_exception_handler(None)
    assert told == ["could not write the ledger: nobody foresaw this"]


async def test_slow_it_is_waited_for_and_what_there_is_no_room_for_is_counted(
    url: str, other: "asyncpg.Connection"
) -> None:
    async with node(url, capacity=100) as there:
        await there.until_connected()
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks in access exclusive mode")
            told = tell(there, 60)
            await there.until(lambda: there.ledger.writer.sinks[sql.SINGLE].in_flight)
            told += tell(there, 130)
            assert there.ledger.status.dropped == 30
        await there.until_written()
        status = there.ledger.status
        assert (status.written, status.dropped) == (160, 30)
        assert await kept(other) == sorted(told[:60] + told[90:])


async def test_a_host_that_is_gone_without_a_word_does_not_hide_the_next(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_WITHIN_S", 0.3)
    attempts: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: attempts.append(writer), "127.0.0.1", 0)
    async with silent:
        user, _, place = url.rpartition("@")
        gone = "{}:{}".format(*silent.sockets[0].getsockname())
        database = Database(lambda: f"{user}@{gone},{place}")
        for _ in range(2):
            await (await database.connect()).close()
        assert len(attempts) == 1
        attempts.pop().close()
        for hosts in (gone, f"{gone},{gone}"):
            with pytest.raises(DatabaseError, match="TimeoutError"):
                await Database(lambda hosts=hosts: f"{user}@{hosts}/nowhere").connect()
        for writer in attempts:
            writer.close()


async def test_of_several_hosts_the_one_that_can_be_written_to_is_used(url: str, other: "asyncpg.Connection") -> None:
    name = url.rpartition("/")[2]
    await other.execute(f"alter database {name} set default_transaction_read_only = on")
    network = Freezing(url)

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await other.execute(f"alter database {name} reset default_transaction_read_only")
        await network.serve(reader, writer)

    async with await asyncio.start_server(take_over, "127.0.0.1", 0) as server:
        user, _, place = url.rpartition("@")
        standby, _, path = place.partition("/")
        port = server.sockets[0].getsockname()[1]
        async with node(f"{user}@{standby},127.0.0.1:{port}/{path}") as there:
            told = tell(there, 3)
            await there.until_written()
            assert await kept(other) == sorted(told)


class Connect:
    """Connects to the database, and notes when."""

    def __init__(self, url: str) -> None:
        self._database = Database(lambda: url)
        self.attempts: list[float] = []

    async def __call__(self) -> "asyncpg.Connection":
        self.attempts.append(asyncio.get_running_loop().time())
        return await self._database.connect()


@pytest.mark.parametrize(("table", "count"), [("single_tasks", 5), ("task_batches", 30)])
async def test_a_table_that_takes_no_records_is_told_of_once_and_holds_up_no_other(
    url: str, other: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch, table: str, count: int
) -> None:
    monkeypatch.setattr(trouble, "PATIENCE_S", 0.1)
    connect = Connect(url)

    async with node(url, connect=connect, lost_after_s=0.6) as there:
        await there.until_connected()
        await other.execute(REFUSING.replace("single_tasks", table))
        records = tell(there, count, request_id=samples.new_id())
        began = asyncio.get_running_loop().time()
        for number in range(1, 21):
            there.ledger.request_ended(samples.request(node=there.id))
            await there.until(lambda number=number: there.ledger.writer.sinks["requests"].written == number)
        beats = (asyncio.get_running_loop().time() - began) / 0.2
        assert await other.fetchval("select last_value from refused") <= beats + 2
        await there.until(lambda: there.reports)
        assert len((await there.ledger.requests(RequestQuery())).items) == 20
        # What the database has of tasks is not the latest, but what there is in memory.
        assert len((await there.ledger.tasks(TaskQuery())).items) == count
        assert [found.count for found in await there.ledger.counts(TaskQuery())] == [count]
        status = there.ledger.status
        assert (status.connected, status.backlog, status.error) == (False, count, "the disk is full")
        # One to write, one to ask.
        assert len(connect.attempts) == 2
        await other.execute(f"drop trigger refuse on outlast.{table}")
        await there.until_written()
        assert await kept(other) == sorted(records)
        [(first, is_trouble), (second, is_trouble_again)] = there.reports
        assert "refuses records (the disk is full): records wait in memory" in first
        assert second.endswith(f"takes records again; {count} are being written")
        assert (is_trouble, is_trouble_again) == (True, False)


async def test_a_table_that_is_locked_for_long_holds_up_no_other(
    url: str, other: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMMAND_WITHIN_S", 0.3)
    monkeypatch.setattr(trouble, "PATIENCE_S", 0.1)
    connect = Connect(url)
    async with node(url, connect=connect, lost_after_s=0.6) as there:
        await there.until_connected()
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks in access exclusive mode")
            told = tell(there, 3)
            await there.until(lambda: there.ledger.writer.sinks[sql.SINGLE].in_flight)
            there.ledger.request_ended(samples.request(node=there.id))
            await there.until(lambda: there.ledger.writer.sinks["requests"].written == 1)
            await there.until(lambda: there.reports)
        assert "refuses records (no answer in time: single_tasks may be locked)" in there.reports[0][0]
        await there.until_written()
        assert await kept(other) == sorted(told)
        assert len(connect.attempts) == 1


BEATEN = """
create table beaten (at timestamptz default clock_timestamp());
create function beat() returns trigger language plpgsql as
    $$ begin insert into beaten default values; return new; end $$;
create trigger beat after insert or update on outlast.nodes for each row execute function beat();
"""


async def test_several_tables_that_are_locked_do_not_make_a_node_look_lost(
    url: str, other: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMMAND_WITHIN_S", 1.0)
    await other.execute(BEATEN)
    async with node(url, lost_after_s=3.0) as there:
        await there.until_connected()
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks, outlast.workers, outlast.requests")
            tell(there, 3)
            there.ledger.worker_started(samples.worker(node=there.id))
            there.ledger.request_ended(samples.request(node=there.id))
            await there.until(lambda: all(sink.refusal for sink in there.ledger.writer.sinks.values()))
        await there.until_written()
    gaps = await other.fetch("select extract(epoch from at - lag(at) over (order by at)) from beaten offset 1")
    assert max(gap for (gap,) in gaps) < 3


async def test_one_that_falls_silent_while_it_writes_is_connected_to_anew(
    url: str, other: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMMAND_WITHIN_S", 0.3)
    async with freezing(url) as network:
        connect = Connect(network.url)
        async with node(network.url, connect=connect) as there:
            await there.until_connected()
            network.freeze_at = "COPY"
            told = tell(there, 3)
            await asyncio.wait_for(network.frozen.wait(), 20)
            connect._database = Database(lambda: url)
            await there.until_written()
            assert await kept(other) == sorted(told)


async def test_tasks_are_refused_until_both_their_tables_take_what_waits(other: "asyncpg.Connection") -> None:
    await other.execute(REFUSING)
    sink = TaskSink(1_000, lambda: None, lambda _: None)
    single = samples.task()
    sink.buffer.add_open(single)
    for at_once in (True, False, False):
        for record in [samples.settled(samples.task(request_id=samples.new_id())) for _ in range(30)]:
            sink.buffer.add_ended([record])
        await sink.write(other, at_once=at_once)
        assert sink.refusal
        sink.try_again()
    assert sink.written == 90
    await other.execute("drop trigger refuse on outlast.single_tasks")
    await sink.write(other, at_once=False)
    assert (sink.refusal, sink.written, sink.has_work) == (None, 91, False)


async def test_where_no_sign_of_life_is_taken_records_are(
    url: str, other: "asyncpg.Connection", tmp_path: Path
) -> None:
    await other.execute(REFUSING.replace("single_tasks", "nodes"))
    gone = Node(url, is_lasting=lambda _: True)
    gone.ledger.task_started(samples.task(node=gone.id, execution_id=samples.new_id(), at=samples.BEGIN))
    done = tell(gone, 3)
    await gone.until_written()
    assert await kept(other) == sorted(done)
    assert gone.ledger.status.error == "the disk is full"
    [(text, is_trouble)] = gone.reports
    assert "refuses signs of life (the disk is full): records are written all the same; but servers that" in text
    assert is_trouble
    await gone.die()
    assert not gone.ledger.presence.is_done
    (tmp_path / gone.id).touch()

    siblings = LockedSiblings(tmp_path, samples.new_id())
    async with node(url, siblings=siblings, lost_after_s=0.3, is_lasting=lambda _: True) as there:
        await there.until(lambda: there.reports)
        await other.execute("drop trigger refuse on outlast.nodes")
        await there.until(lambda: len(there.reports) == 3)
    assert there.reports[1][0] == "the ledger's database takes signs of life again"
    assert "1 background tasks of a server that is gone were open" in there.reports[2][0]
    row = await other.fetchrow("select reason, ms from outlast.single_tasks where outcome = 'interrupted'")
    # How long it ran is not known: it was last heard of then.
    assert (*row,) == ("node_lost", 0)
    siblings.close(is_done=True)


async def test_a_node_whose_session_takes_no_sign_of_life_connects_anew(url: str, other: "asyncpg.Connection") -> None:
    connections: list[asyncpg.Connection] = []

    async def connect() -> "asyncpg.Connection":
        connections.append(await Database(lambda: url).connect())
        if len(connections) == 1:
            await connections[0].execute("set default_transaction_read_only = on")
        return connections[-1]

    async with node(url, connect=connect, lost_after_s=0.3) as there:
        # It has nothing to write.
        await there.until(lambda: len(connections) == 2 and not there.ledger.status.error)
        assert await other.fetchval("select ended is null from outlast.nodes where id = $1", there.id)


async def test_a_node_that_could_give_no_sign_of_life_gives_one_before_its_end(
    url: str, other: "asyncpg.Connection"
) -> None:
    await other.execute(REFUSING.replace("single_tasks", "nodes"))
    async with node(url, is_lasting=lambda _: True) as there:
        await there.until(lambda: there.reports)
        await other.execute("drop trigger refuse on outlast.nodes")
    assert there.ledger.presence.is_done
    assert await other.fetchval("select ended is not null from outlast.nodes where id = $1", there.id)


async def test_a_lost_node_that_cannot_be_closed_is_no_silence_of_this_one(
    url: str, other: "asyncpg.Connection"
) -> None:
    gone = samples.new_id()
    await other.execute("insert into outlast.nodes values ($1, now(), now() - interval '1 hour')", gone)
    on_insert = "before insert on outlast.single_tasks for each statement"
    assert on_insert in REFUSING
    await other.execute(
        REFUSING.replace(on_insert, f"before update on outlast.nodes for each row when (old.id = '{gone}')")
    )
    async with node(url, lost_after_s=0.3, is_lasting=lambda _: True) as there:
        await there.until(lambda: there.reports)
        assert there.ledger.status.error == "the disk is full"
        done = tell(there, 3)
        await there.until_written()
        assert await kept(other) == sorted(done)
    assert there.ledger.presence.is_done
    [(text, is_trouble)] = there.reports
    assert "refuses the end of what lost servers had open (the disk is full): it stays open" in text
    assert is_trouble


async def test_a_node_whose_signs_of_life_were_refused_judges_no_other_at_once(
    url: str, other: "asyncpg.Connection"
) -> None:
    trouble = Trouble(lambda *_, **__: None, "", "", name="", first_patience_s=0, is_lasting=lambda _: False)
    presence = Presence(samples.new_id(), None, trouble, trouble, lambda *_, **__: None, lost_after_s=15)
    silent = "insert into outlast.nodes values ($1, now(), now() - interval '1 hour')"
    ended = "select ended is not null from outlast.nodes where id = $1"
    quiet = samples.new_id()
    await other.execute(silent, quiet)
    await other.execute(REFUSING.replace("single_tasks", "nodes"))
    await presence.beat(other, connected_s=100)
    await other.execute("drop trigger refuse on outlast.nodes")
    for connected_s, is_ended in ((101, False), (114, False), (115, True)):
        await presence.beat(other, connected_s=connected_s)
        assert await other.fetchval(ended, quiet) is is_ended


async def test_tables_that_have_vanished_are_made_again(url: str, other: "asyncpg.Connection") -> None:
    async with node(url, lost_after_s=0.3) as there:
        await there.until_connected()
        await other.execute("drop schema outlast cascade")
        told = tell(there, 3)
        await there.until(lambda: there.ledger.status.error)
        await there.until_written()
        assert await kept(other) == sorted(told)


async def test_one_that_does_not_know_the_node_is_tried_ever_more_seldom(
    url: str, other: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "PATIENCE_S", 0.1)
    connect = Connect(url)

    async with node(url, connect=connect, lost_after_s=0.3) as there:
        await there.until_connected()
        await other.execute(REFUSING.replace("single_tasks", "nodes").replace(RAISES, HANGS_UP))
        await there.until(lambda: len(connect.attempts) == 6)
        [(text, is_trouble)] = there.reports
        assert "is out of reach (" in text
        assert is_trouble
        # The pauses since the connection that was of use are 1, 2, 4, 8, and 16 times as long as the first.
        assert connect.attempts[-1] - connect.attempts[-2] > 15 * writer.FIRST_PAUSE_S


@pytest.mark.parametrize(
    ("change", "told", "waiting"),
    [
        (
            "alter table outlast.workers drop column memory_mb",
            'column "memory_mb" of relation "workers" does not exist',
            1,
        ),
        (
            "alter table outlast.workers add column extra integer not null",
            'null value in column "extra" of relation "workers" violates not-null constraint',
            1,
        ),
        # As a newer Outlast does.
        (
            "alter table outlast.single_tasks rename to few_tasks; create view outlast.single_tasks as "
            "select * from outlast.few_tasks union all select * from outlast.few_tasks; "
            "insert into outlast.migrations (number, name) values (4711, 'few_tasks')",
            'cannot copy to view "single_tasks"',
            3,
        ),
    ],
)
async def test_tables_that_are_not_its_own_are_told_of_with_what_to_do(
    url: str, other: "asyncpg.Connection", change: str, told: str, waiting: int
) -> None:
    await other.execute(change)
    async with node(url, is_lasting=is_lasting) as there:
        there.ledger.worker_started(samples.worker(node=there.id))
        there.ledger.request_ended(samples.request(node=there.id))
        tell(there, 3)
        await there.until(lambda: there.reports)
        assert f"refuses records ({told}" in there.reports[0][0]
        assert "upgrade this one" in there.reports[0][0]
        await there.until(lambda: there.ledger.status.backlog == waiting)
        assert await other.fetchval("select count(*) from outlast.requests") == 1
        assert len((await there.ledger.workers(WorkerQuery())).items) == 1
        assert len((await there.ledger.tasks(TaskQuery())).items) == 3
    assert [text for text, _ in there.reports[1:]] == [
        f"{waiting} records of the ledger could not be written before the end"
    ]


async def test_a_user_who_may_not_write_to_a_table_is_told_which_rights_are_wanting(
    url: str, other: "asyncpg.Connection"
) -> None:
    user = f"clerk_{samples.new_id()[-12:]}"
    await other.execute(f"create role {user} login password 'clerk'; grant usage on schema outlast to {user}")
    await other.execute(f"grant all on all tables in schema outlast to {user}")
    await other.execute(f"revoke insert on outlast.workers from {user}")
    theirs = f"postgresql://{user}:clerk@{url.rpartition('@')[2]}"
    async with node(theirs, is_lasting=is_lasting) as there:
        there.ledger.worker_started(samples.worker(node=there.id))
        tasks = tell(there, 3)
        await there.until(lambda: there.reports)
        assert "refuses records (permission denied for table workers)" in there.reports[0][0]
        assert "Its user must own the schema outlast" in there.reports[0][0]
        await there.until(lambda: there.ledger.status.backlog == 1)
        assert await kept(other) == sorted(tasks)


async def test_a_connection_that_breaks_while_a_batch_is_written(url: str, other: "asyncpg.Connection") -> None:
    async with node(url) as there:
        await there.until_connected()
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks in access exclusive mode")
            told = tell(there, 60)
            await there.until(lambda: there.ledger.writer.sinks[sql.SINGLE].in_flight)
            await other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
            await there.until(lambda: not there.ledger.status.connected)
        await there.until_written()
        assert await kept(other) == sorted(told)
        assert there.ledger.status.written == 60


async def test_what_it_cannot_count_in_time_is_not_counted_in_memory(
    url: str, monkeypatch: pytest.MonkeyPatch, other: "asyncpg.Connection"
) -> None:
    async with node(url) as there:
        tell(there, 3)
        await there.until_written()
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks in access exclusive mode")
            monkeypatch.setattr(module, "ASK_WITHIN_S", 0.05)
            with pytest.raises(TooMany, match=r"not counted them within 0\.05 s"):
                await there.ledger.counts(TaskQuery())
        monkeypatch.undo()
        assert [count.count for count in await there.ledger.counts(TaskQuery())] == [3]


async def test_that_it_cannot_be_asked_is_told_with_the_reason(url: str, other: "asyncpg.Connection") -> None:
    user = f"lonely_{samples.new_id()[-12:]}"
    await other.execute(f"create role {user} login password 'lonely' connection limit 1")
    await other.execute(f"grant all on schema outlast to {user}")
    await other.execute(f"grant all on all tables in schema outlast to {user}")
    async with node(f"postgresql://{user}:lonely@{url.rpartition('@')[2]}", is_lasting=lambda _: True) as there:
        tell(there, 3)
        await there.until_written()
        assert len((await there.ledger.tasks(TaskQuery())).items) == 3
        [(told, is_trouble)] = there.reports
        assert f'refuses questions (too many connections for role "{user}"): they are answered with what' in told
        assert is_trouble
        assert "too many connections" in str(there.ledger.status.error)
        with pytest.raises(TooMany, match="too many connections"):
            await there.ledger.counts(TaskQuery())
        await other.execute(f"alter role {user} connection limit 2")
        assert (await there.ledger.counts(TaskQuery()))[0].count == 3
        assert there.reports[1:] == [("the ledger's database takes questions again", False)]
        assert there.ledger.status.error is None


async def test_slow_it_does_not_make_records_older_than_they_are(
    url: str, monkeypatch: pytest.MonkeyPatch, other: "asyncpg.Connection"
) -> None:
    async with node(url) as there:
        await there.until_connected()
        record = samples.task(node=there.id)
        there.ledger.task_started(record)
        assert [task.outcome for task in (await there.ledger.tasks(TaskQuery())).items] == [None]
        async with other.transaction():
            await other.execute("lock table outlast.single_tasks in exclusive mode")
            there.ledger.tasks_settled([samples.settled(record)])
            monkeypatch.setattr(module, "ASK_WITHIN_S", 0.05)
            found = await there.ledger.task(record.id)
            assert found is not None
            assert found.outcome == "fulfilled"
        monkeypatch.undo()


class Mumbling:
    """A connection whose answers to what is written get lost, now and then."""

    def __init__(self, connection: "asyncpg.Connection", answers: list[bool]) -> None:
        self._connection = connection
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def copy_to_table(self, *values: Any, **options: Any) -> str:
        return self._heard(await self._connection.copy_to_table(*values, **options))

    async def execute(self, text: str, *values: object) -> str:
        result: str = await self._connection.execute(text, *values)
        return self._heard(result) if "json_to_recordset" in text else result

    def _heard(self, result: str) -> str:
        if not self._answers.pop():
            raise ConnectionResetError("the answer was lost")
        return result


def mumbling(url: str, answers: list[bool]) -> Callable[[], Awaitable[Mumbling]]:
    async def connect() -> Mumbling:
        return Mumbling(await Database(lambda: url).connect(), answers)

    return connect


async def test_what_was_written_without_an_answer_is_written_again_and_there_once(
    url: str, other: "asyncpg.Connection"
) -> None:
    answers = [True, False, False]

    async with node(url, connect=mumbling(url, answers)) as there:
        await there.until_connected()
        open_one = samples.task(node=there.id)
        there.ledger.task_started(open_one)
        told = tell(there, 10)
        # A question makes it write at once, with what is open.
        await there.ledger.tasks(TaskQuery())
        await there.until_written()
        assert answers == []
        answers += [True, False]
        there.ledger.tasks_settled([samples.settled(open_one)])
        told += tell(there, 10)
        await there.until_written()
        assert answers == []
        assert await kept(other) == sorted([open_one.id, *told])


async def test_a_record_that_the_database_refuses_does_not_take_others_with_it(
    url: str, other: "asyncpg.Connection"
) -> None:
    async with node(url) as there:
        await there.until_connected()
        told = tell(there, 5)
        for function in ("a\0b", "half of a pair: \ud83d"):
            samples.tell_settled(there.ledger, samples.task(function, node=there.id))
        told += tell(there, 5)
        await there.until_written()
        assert (there.ledger.status.written, there.ledger.status.dropped) == (10, 2)
        assert len(there.reports) == 2
        for text, is_trouble in there.reports:
            assert "refuses a record" in text
            assert is_trouble
        assert await kept(other) == sorted(told)


async def test_what_was_refused_before_a_connection_broke_is_refused_once(
    url: str, other: "asyncpg.Connection"
) -> None:
    # Of what follows the refused record: to the first write, to the second, and to the next connection's.
    answers = [True, False, True]

    async with node(url, connect=mumbling(url, answers)) as there:
        await there.until_connected()
        samples.tell_settled(there.ledger, samples.task("a\0b", node=there.id))
        told = tell(there, 4)
        await there.until_written()
        assert answers == []
        assert (there.ledger.status.written, there.ledger.status.dropped) == (4, 1)
        assert sum("refuses a record" in text for text, _ in there.reports) == 1
        assert await kept(other) == sorted(told)


async def test_what_cannot_be_written_before_the_end_is_told() -> None:
    url = "postgresql://nobody@127.0.0.1:1/nowhere"
    there = Node(url)
    tell(there, 3)
    await there.ledger.close(within_s=0.01)
    assert [text for text, _ in there.reports] == ["3 records of the ledger could not be written before the end"]


async def test_one_that_falls_silent_in_a_transaction_does_not_hold_up_the_end(url: str) -> None:
    async with freezing(url) as network:
        there = Node(network.url)
        await there.until_connected()
        network.freeze_at = sql.LOSE_TASKS
        # asyncpg alone would wait for its rollback, and then say nothing of having been cancelled.
        async with asyncio.timeout(COMMAND_WITHIN_S / 2):
            await there.ledger.close(within_s=0.1)
        assert network.frozen.is_set()
        assert not there.ledger.presence.is_done


async def test_what_is_open_does_not_wait_where_there_is_little_to_write(
    url: str, monkeypatch: pytest.MonkeyPatch, other: "asyncpg.Connection"
) -> None:
    monkeypatch.setattr(writer, "MANY", 1)
    monkeypatch.setattr(writer, "GATHER_UNDER_LOAD_S", 1_000)
    async with node(url) as there:
        await there.until_connected()
        open_one = samples.task(node=there.id)
        there.ledger.task_started(open_one)
        tell(there, 1)
        # There was no load before the first time. The second one is a long way off.
        await there.until_written()
        assert await other.fetchval("select count(*) from outlast.tasks where id = $1 and outcome is null", open_one.id)


async def test_more_than_a_batch(url: str, other: "asyncpg.Connection") -> None:
    async with node(url) as there:
        told = tell(there, 9_000)
        await there.until_written()
        assert await kept(other) == sorted(told)
        told += tell(there, 6_000)
        # A question sees what was told before it, also when that is more than one batch.
        assert (await there.ledger.counts(TaskQuery()))[0].count == 15_000
