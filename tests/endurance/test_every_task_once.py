"""Workers are killed at random under full load: the ledger has every task that functions started, once, with one end.

Functions keep a journal: a line before they start a task, one when `waitUntil` has returned, and one at the task's end.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.endurance import journal
from tests.endurance.journal import Journal, open_journal
from tests.ledger.node import session
from tests.support.admin import admin
from tests.support.calling import calling
from tests.support.node import Node, serving, write_project
from tests.support.postgres import Server

SECONDS = float(os.environ.get("OUTLAST_TEST_SECONDS", "6"))
SEED = int(os.environ.get("OUTLAST_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
CALLERS = 16
"""Of each function; each asks again as soon as it has its answer."""
ANSWERS_BETWEEN_KILLS = (50, 800)
SHARE_OF_ANY_AGE, OLD_MS = 0.25, 1_500
"""A function whose workers all die young is slowed down: then there would be nobody to kill."""
LEAST_KILLED = max(2, int(SECONDS / 5))
"""Of each function."""
MOST_IN_FLIGHT = 1_000
"""Lines that a worker can have written between the end of a task and the moment when the node was told of it."""
IN_ONE_TURN = 60
PATIENCE_S = 30

TYPESCRIPT = (
    journal.TYPESCRIPT
    + """
const life = Deno.env.get("SB_EXECUTION_ID");
let count = 0;

async function work(name: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 10));
  note("ended", name);
}

Deno.serve((request) => {
  const { searchParams } = new URL(request.url);
  for (let left = Number(searchParams.get("tasks") ?? 1); left > 0; left--) {
    const name = `${life}/${++count}`;
    note("begins", name);
    EdgeRuntime.waitUntil(work(name), { name });
    note("started", name);
  }
  if (searchParams.has("for-ever")) {
    call();
    while (true);
  }
  return new Response("ok");
});
"""
)
PYTHON = (
    journal.PYTHON
    + """
import asyncio

from outlast import EdgeRuntime, Request, Response, serve

life = os.environ["SB_EXECUTION_ID"]
count = 0


async def work(name: str) -> None:
    await asyncio.sleep(0.010)
    note("ended", name)


@serve
async def handler(request: Request) -> Response:
    global count
    for _ in range(int(request.query.get("tasks", "1"))):
        count += 1
        name = f"{life}/{count}"
        note("begins", name)
        EdgeRuntime.wait_until(work(name), name=name)
        note("started", name)
    if "for-ever" in request.query:
        call()
        while True:
            pass
    return Response("ok")
"""
)
SOURCES = {"tasks-ts": TYPESCRIPT, "tasks-py/main.py": PYTHON}
FUNCTIONS = ("tasks-ts", "tasks-py")
LIMITS = """
[limits]
cpu_soft_ms = 1_000 # workers also retire all the time
cpu_hard_ms = 0
[scale]
max_workers = 2
"""


class Load:
    """Callers who never rest."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self._answers = 0
        self._awaited: list[tuple[int, asyncio.Event]] = []
        self._is_over = False

    async def run(self, node: Node) -> None:
        async with asyncio.TaskGroup() as group:
            for name in FUNCTIONS:
                for _ in range(CALLERS):
                    group.create_task(self._call(f"{node.url}/functions/v1/{name}"))

    async def _call(self, url: str) -> None:
        async with calling(url) as caller:
            while not self._is_over:
                answer = await caller.ask()
                self.statuses[answer.status] += 1
                self._answers += 1
                if self._awaited and self._answers >= self._awaited[0][0]:
                    self._awaited.pop()[1].set()

    async def more(self, count: int) -> None:
        """Waits for so many answers more."""
        there = asyncio.Event()
        self._awaited = [(self._answers + count, there)]
        await there.wait()

    def end(self) -> None:
        self._is_over = True


async def kill_at_random(api: httpx.AsyncClient, load: Load, chance: random.Random) -> Counter[str]:
    """For `SECONDS`, and until there are enough. Returns how many of each function."""
    killed: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or min(killed[name] for name in FUNCTIONS) < LEAST_KILLED:
        await load.more(chance.randint(*ANSWERS_BETWEEN_KILLS))
        workers = (await api.get("/v1/workers")).json()["items"]
        least_age_ms = 0 if chance.random() < SHARE_OF_ANY_AGE else OLD_MS
        if victims := [worker for worker in workers if _may_die(worker, least_age_ms)]:
            victim = chance.choice(victims)
            os.kill(victim["pid"], signal.SIGKILL)
            killed[victim["function"]] += 1
    return killed


def _may_die(worker: dict[str, Any], least_age_ms: int) -> bool:
    return worker["state"] in ("ready", "retired") and worker["age_ms"] >= least_age_ms


async def nothing_is_open(api: httpx.AsyncClient) -> None:
    """Waits until every task has come to its end."""
    async with asyncio.timeout(PATIENCE_S):
        while (await api.get("/v1/tasks", params={"open": "true", "limit": 1})).json()["items"]:
            pass


def project_with(written: Journal, folder: Path) -> Path:
    project = write_project(folder, SOURCES, outlast=LIMITS)
    (project / "supabase/functions/.env").write_text(f"JOURNAL={written.address}\n")
    return project


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_what_is_started_has_a_record_whenever_the_worker_dies(tmp_path: Path, name: str) -> None:
    """Here in the very turn of the event loop that has started it."""
    async with open_journal() as written:
        async with serving(project_with(written, tmp_path)) as node, admin(node) as api:
            async with calling(f"{node.url}/functions/v1/{name}?tasks={IN_ONE_TURN}&for-ever") as caller:
                asking = asyncio.create_task(caller.ask())
                await written.call()
                [busy] = [worker for worker in (await api.get("/v1/workers")).json()["items"] if worker["requests"]]
                os.kill(busy["pid"], signal.SIGKILL)
                assert (await asking).status == 500
            await node.wait_for("shutdown", execution_id=busy["id"], reason="crash")
            recorded = [entry["name"] for entry in node.found("task", outcome="interrupted", reason="crash")]
        started = [task for page in await written.read() for what, task in page if what == "started"]
    assert len(started) == IN_ONE_TURN
    assert sorted(recorded) == sorted(started)


@pytest.mark.timeout(90 + 2 * SECONDS)
async def test_every_task_is_recorded_once_with_one_end(tmp_path: Path, postgres: Server) -> None:
    print(f"OUTLAST_TEST_SEED={SEED}")
    url = await postgres.new_database()
    async with open_journal() as written:
        project = project_with(written, tmp_path)
        async with serving(project, f"--database={url}", "--log-level=warning") as node, admin(node) as api:
            load = Load()
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(node))
                killed = await kill_at_random(api, load, random.Random(SEED))
                load.end()
            await nothing_is_open(api)
            status: dict[str, Any] = (await api.get("/v1/node")).json()["ledger"]
            assert await node.stop() == 0
            logged = Counter(entry["task_id"] for entry in node.found("task"))
        pages = await written.read()
    async with session(url) as connection:
        records = [dict(row) for row in await connection.fetch("select * from outlast.tasks")]
        crashed = {row["id"] for row in await connection.fetch("select id from outlast.workers where reason = 'crash'")}

    wrote: dict[str, set[str]] = {"begins": set(), "started": set(), "ended": set()}
    last_lines: set[str] = set()
    for page in pages:
        for what, name in page:
            assert name not in wrote[what], "a name is used once"
            wrote[what].add(name)
        last_lines |= {name for what, name in page[-MOST_IN_FLIGHT:] if what == "ended"}
    outcomes = Counter((record["outcome"], record["reason"]) for record in records)
    print(
        f"{load.statuses.total()} requests {dict(load.statuses)}, killed {dict(killed)}, "
        f"{len(wrote['started'])} tasks, {len(records)} records {dict(outcomes)}"
    )

    recorded = Counter(record["name"] for record in records)
    assert recorded.total() == len(recorded), "one record of each"
    assert wrote["started"] - recorded.keys() == set(), "what was started has a record"
    assert recorded.keys() - wrote["begins"] == set(), "what has a record was started"
    interrupted = {record["name"] for record in records if record["outcome"] == "interrupted"}
    fulfilled = {record["name"] for record in records if record["outcome"] == "fulfilled"}
    assert interrupted | fulfilled == recorded.keys(), "each has an end, and no other than these two"
    assert fulfilled - wrote["ended"] == set(), "what is fulfilled had come to its end"
    assert (wrote["ended"] & interrupted) - last_lines == set(), "but for those whose news was under way, the reverse"
    for record in records:
        assert f"{record['execution_id']}/" in record["name"]
        if record["outcome"] == "interrupted":
            assert record["reason"] == "crash"
            assert record["execution_id"] in crashed
            # The log says the same, once.
            assert logged.pop(str(record["id"])) == 1
    assert not logged
    assert status["dropped"] == 0
    assert load.statuses[200] > 0.9 * load.statuses.total()
