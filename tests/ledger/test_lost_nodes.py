"""What becomes of the tasks of a node that is gone."""

import asyncio
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.ledger import samples
from tests.ledger.node import Node, node, session

from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import TaskQuery, TaskRecord, WorkerQuery
from outlast.ledger.siblings import LockedSiblings

SOON_S = 0.5


async def with_open_tasks(url: str, count: int = 3, **options: object) -> tuple[Node, list[TaskRecord]]:
    there = Node(url, **options)
    await there.until_connected()
    records = [samples.task(node=there.id) for _ in range(count)]
    for record in records:
        there.ledger.task_started(record)
    there.ledger.worker_started(samples.worker(node=there.id))
    settled = samples.task(node=there.id)
    there.ledger.task_started(settled)
    there.ledger.tasks_settled([samples.settled(settled)])
    await there.until_written()
    return there, records


async def lost(there: Node) -> list[TaskRecord]:
    return (await there.ledger.tasks(TaskQuery(reason=EndReason.NODE_LOST))).items


async def test_another_node_that_misses_its_signs_of_life_ends_them_once(url: str) -> None:
    gone, records = await with_open_tasks(url, 100)
    await gone.die()
    async with node(url, lost_after_s=SOON_S) as one, node(url, lost_after_s=SOON_S) as two:
        await one.until(lambda: one.reports or two.reports)
        found = await lost(one)
        assert {record.id for record in found} == {record.id for record in records}
        for record in found:
            assert record.outcome is TaskOutcome.INTERRUPTED
            assert record.settled is not None
            assert record.settled >= record.started
            assert record.ms is not None
        [worker] = (await one.ledger.workers(WorkerQuery())).items
        assert worker.reason is EndReason.NODE_LOST
        async with session(url) as connection:
            # A full round of both, after which there is nothing to report again.
            for there in (one, two):
                await there.ledger.presence.beat(connection, connected_s=SOON_S)
        [(text, is_trouble)] = one.reports + two.reports
        assert "100 background tasks" in text
        assert is_trouble


async def test_one_that_is_alive_is_left_alone(url: str) -> None:
    async with node(url, lost_after_s=SOON_S) as one, node(url, lost_after_s=SOON_S) as two:
        await two.until_connected()
        record = samples.task(node=one.id)
        one.ledger.task_started(record)
        await one.until_written()
        async with session(url) as connection:
            await connection.execute("select pg_sleep($1)", 2 * SOON_S)
        assert await lost(two) == []
        assert one.reports == two.reports == []


async def test_who_was_cut_off_itself_cannot_judge(url: str) -> None:
    gone, _ = await with_open_tasks(url)
    await gone.die()
    async with session(url) as connection:
        await connection.execute("update outlast.nodes set last_seen = now() - interval '1 day'")
        async with node(url) as there:
            await there.until_connected()
            presence = there.ledger.presence
            assert await presence.beat(connection, connected_s=0) == 0
            assert await presence.beat(connection, connected_s=60) == 3


async def test_one_that_comes_back_knows_better(url: str) -> None:
    absent, [first, *_] = await with_open_tasks(url)
    async with session(url) as connection:
        await connection.execute("update outlast.nodes set last_seen = now() - interval '1 day'")
        async with node(url) as other:
            await other.until_connected()
            await other.ledger.presence.beat(connection, connected_s=60)
            assert len(await lost(other)) == 3
            absent.ledger.tasks_settled([samples.settled(first)])
            await absent.until_written()
            found = await other.ledger.task(first.id)
            assert found is not None
            assert (found.outcome, found.reason) == (TaskOutcome.FULFILLED, None)
            assert len(await lost(other)) == 2
    await absent.ledger.close()


async def test_the_next_node_of_the_same_project_knows_at_once(url: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from outlast.ledger.siblings import LockedSiblings; "
        "there = LockedSiblings(Path(sys.argv[1]), sys.argv[2]); print('locked', flush=True); sys.stdin.read()"
    )
    gone, records = await with_open_tasks(url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path), gone.id), stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    mine = samples.new_id()
    siblings = LockedSiblings(tmp_path, mine)
    assert siblings.departed() == []
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    await gone.die()
    assert siblings.departed() == [gone.id]
    async with node(url, siblings=siblings) as there:
        await there.until_connected()
        assert {record.id for record in await lost(there)} == {record.id for record in records}
        assert siblings.departed() == []
    siblings.close(is_done=True)
    assert siblings.departed() == []


async def test_a_folder_of_nodes_that_vanishes_costs_nothing_but_speed(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "nodes"
    gone, _ = await with_open_tasks(url)
    await gone.die()
    siblings = LockedSiblings(folder, samples.new_id())
    shutil.rmtree(folder)
    async with node(url, siblings=siblings, lost_after_s=SOON_S) as there:
        # The other one is still recognised by its silence.
        await there.until(lambda: there.reports)
        assert len(await lost(there)) == 3
    siblings.close(is_done=True)


async def test_other_files_beside_those_of_nodes_are_left_alone(url: str, tmp_path: Path) -> None:
    mine = samples.new_id()
    others = [tmp_path / name for name in ("README", f"{samples.new_id()}.orig", f"{{{samples.new_id()}}}")]
    for file in others:
        file.write_text("")
    siblings = LockedSiblings(tmp_path, mine)
    async with node(url, siblings=siblings) as there:
        await there.until_connected()
        assert siblings.departed() == []
    siblings.close(is_done=True)
    assert all(file.exists() for file in others)


async def test_what_is_still_open_at_an_orderly_end_does_not_stay_so(url: str) -> None:
    there, _ = await with_open_tasks(url)
    await there.ledger.close()
    assert there.ledger.presence.is_done
    async with session(url) as connection:
        assert await connection.fetchval("select count(*) from outlast.tasks where outcome is null") == 0
        assert await connection.fetchval("select count(*) from outlast.nodes where ended is null") == 0
