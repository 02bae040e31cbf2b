"""A served project: every task that its functions start is in the ledger, once, whoever is killed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio
from tests.ledger.node import session
from tests.support.node import Node, serving, write_project
from tests.support.postgres import connected

from outlast.database.place import OWNER, Folder

PATIENCE_S = 30
NAPPING = """
Deno.serve((request) => {
  const query = new URL(request.url).searchParams;
  const nap = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
  for (let left = Number(query.get("tasks")); left > 0; left--) {
    EdgeRuntime.waitUntil(nap(Number(query.get("ms"))), { name: "nap" });
  }
  return Response.json({ pid: Deno.pid, database: Deno.env.get("SUPABASE_DB_URL") ?? null });
});
"""


async def call(node: Node, **query: object) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S) as client:
        response = await client.get("/nap", params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200
    answer: dict[str, object] = response.json()
    return {**answer, "request": response.headers["sb-request-id"]}


async def until_there(connection: "asyncpg.Connection", count: int, where: str, *values: object) -> None:
    counting = f"select count(*) from outlast.tasks where {where}"
    async with asyncio.timeout(PATIENCE_S):
        while await connection.fetchval(counting, *values) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def outcomes(connection: "asyncpg.Connection") -> dict[tuple[str | None, str | None], int]:
    rows = await connection.fetch("select outcome, reason, count(*) from outlast.tasks group by 1, 2")
    return {(row[0], row[1]): row[2] for row in rows}


class TestInADatabaseOfYours:
    @pytest_asyncio.fixture
    async def node(self, tmp_path: Path, url: str) -> AsyncIterator[Node]:
        async with serving(write_project(tmp_path, {"nap": NAPPING}), f"--database={url}") as node:
            yield node

    async def test_of_a_worker_that_is_killed_every_task_is_interrupted_within_a_second(
        self, node: Node, url: str
    ) -> None:
        answer = await call(node, tasks=100, ms=60_000)
        async with session(url) as connection:
            await until_there(connection, 100, "outcome is null and request_id = $1", answer["request"])
            killed = time.monotonic()
            os.kill(int(str(answer["pid"])), signal.SIGKILL)
            await until_there(connection, 100, "outcome = 'interrupted' and reason = 'crash'")
            assert time.monotonic() - killed < 1
            assert await outcomes(connection) == {("interrupted", "crash"): 100}
        await node.wait_for("shutdown", reason="crash")
        await node.stop()
        async with session(url) as connection:
            [worker] = await connection.fetch("select * from outlast.workers where tasks > 0")
            assert (worker["function"], worker["reason"], worker["tasks"]) == ("nap", "crash", 100)

    async def test_the_log_and_the_ledger_speak_of_the_same_tasks(self, node: Node, url: str) -> None:
        answer = await call(node, tasks=3, ms=1)
        assert answer["database"] is None, "of the functions' own there is none"
        await node.wait_for("task", count=3)
        assert await node.stop() == 0
        async with session(url) as connection:
            rows = await connection.fetch("select * from outlast.tasks order by id")
            logged = sorted(node.found("task"), key=lambda event: str(event["task_id"]))
            assert [str(row["id"]) for row in rows] == [event["task_id"] for event in logged]
            for row, event in zip(rows, logged, strict=True):
                for field in ("function", "name", "request_id", "outcome", "ms"):
                    assert row[field] == event[field]
                assert str(row["execution_id"]) == event["execution_id"]
                assert row["language"] == "typescript"
                assert row["started"] <= row["settled"]
            [request] = await connection.fetch("select * from outlast.requests")
            assert (str(request["id"]), request["status"], request["path"]) == (answer["request"], 200, "/nap")
            assert request["first_byte_ms"] <= request["ms"]
            [worker] = await connection.fetch("select * from outlast.workers where requests > 0")
            assert (worker["requests"], worker["tasks"], worker["reason"]) == (1, 3, "termination")
            assert worker["started"] <= worker["ready"] <= worker["ended"]
            assert await connection.fetchval("select count(*) from outlast.workers where ended is null") == 0


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose server is made once."""
    return write_project(
        tmp_path_factory.mktemp("embedded"), {"nap": NAPPING}, outlast="[ledger]\nrequests_per_s = 1000000\n"
    )


async def ledger_of(project: Path) -> "asyncpg.Connection":
    connection = await connected(Folder(project / ".outlast" / "pg").place().url(OWNER))
    async with asyncio.timeout(PATIENCE_S):
        while await connection.fetchval("select to_regclass('outlast.tasks') is null"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return connection


class TestInTheEmbeddedDatabase:
    async def test_a_node_that_is_killed_loses_nothing(self, embedded: Path) -> None:
        async with serving(embedded, "--database=embedded") as node:
            answer = await call(node, tasks=100, ms=60_000)
            assert str(answer["database"]).startswith("postgresql://postgres:")
            functions = await connected(str(answer["database"]))
            assert await functions.fetchval("select current_user") == "postgres"
            await functions.close()
            connection = await ledger_of(embedded)
            await until_there(connection, 100, "outcome is null")
            connection.terminate()
            node.process.kill()
            await node.process.wait()
        async with serving(embedded, "--database=embedded") as node:
            await node.wait_for("ledger", level="warning", msg=lambda text: text.startswith("100 background tasks"))
            connection = await ledger_of(embedded)
            assert await outcomes(connection) == {("interrupted", "node_lost"): 100}
            await connection.execute("delete from outlast.single_tasks")
            await connection.close()

    async def test_a_database_that_is_killed_under_load_costs_no_request_and_no_record(self, embedded: Path) -> None:
        async with serving(embedded, "--database=embedded", drop=lambda line: b'"request"' in line) as node:
            connection = await ledger_of(embedded)
            before = await connection.fetchval("select count(*) from outlast.requests")
            pid = int((embedded / ".outlast" / "pg" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
            is_over, asked = asyncio.Event(), 0

            async def load() -> None:
                nonlocal asked
                async with httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S) as client:
                    while not is_over.is_set():
                        response = await client.get("/nap?tasks=2&ms=5")
                        assert response.status_code == 200
                        asked += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(load())
                await until_there(connection, 20, "outcome = 'fulfilled'")
                connection.terminate()
                os.kill(pid, signal.SIGKILL)
                await node.wait_for("database", level="warning", msg=lambda text: "tries again" in text)
                connection = await ledger_of(embedded)
                seen = await connection.fetchval("select count(*) from outlast.tasks")
                await until_there(connection, seen + 20, "outcome = 'fulfilled'")
                is_over.set()
            await node.wait_for("task", count=2 * asked)
            await until_there(connection, 2 * asked, "outcome = 'fulfilled'")
            assert await outcomes(connection) == {("fulfilled", None): 2 * asked}
            async with asyncio.timeout(PATIENCE_S):
                counting = "select count(*) from outlast.requests"
                while await connection.fetchval(counting) < before + asked:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await connection.close()
