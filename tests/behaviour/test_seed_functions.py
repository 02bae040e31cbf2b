"""What the two documents print, and its Python twins, served and observed: the response first, the effect later."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from tests.behaviour.served import Served, served

REPOSITORY = Path(__file__).parents[2]
SEEDS = REPOSITORY / "tests/fixtures/seeds"
TWINS = REPOSITORY / "examples/python"


class Seed(NamedTuple):
    function: str
    work: str
    """What ``_shared/work.ts`` and ``_shared/work.py`` call the work that its task does."""
    answer: object


SUCCEEDING = [
    Seed("practices-core-pattern", "asyncLongRunningTask", {"success": True}),
    Seed("practices-upload-to-storage", "upload", {"processing": True}),
    Seed("practices-log-to-database", "insert", {"ok": True}),
    Seed("practices-send-notifications", "sendEmail", {"ok": True}),
    Seed("guide-handler", "asyncLongRunningTask", "ok"),
]
TOP_LEVEL = [
    Seed("practices-beforeunload", "asyncLongRunningTask", {"ok": True}),
    Seed("guide-top-level", "asyncLongRunningTask", "ok"),
    Seed("guide-beforeunload", "asyncLongRunningTask", "ok"),
]
FAILING = [
    Seed("practices-background-errors", "longRunningTask", {"ok": True}),
    Seed("guide-unhandledrejection", "longRunningTask", {"ok": True}),
]
WITHOUT_A_TASK = [Seed("practices-unhandled-rejection", "longRunningTask", {"ok": True})]
SHOWN = {"typescript": "Error: the long-running task failed", "python": "the long-running task failed"}
"""How each language shows the error, in a text."""
LISTENING = {
    "practices-beforeunload": "Function shutting down: termination",
    "guide-beforeunload": "Function will be shutdown due to termination",
}


def project(folder: Path, language: str, only: str = "*") -> Path:
    source = SEEDS / "supabase/functions" if language == "typescript" else TWINS
    for function in (*source.glob("_shared"), *source.glob(only)):
        target = folder / "supabase/functions" / function.name
        shutil.copytree(function, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copy(SEEDS / "supabase/config.toml", folder / "supabase/config.toml")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def per_worker(tmp_path_factory: pytest.TempPathFactory, language: str) -> AsyncIterator[Served]:
    # No --policy: it is what the document's config.toml says.
    async with served(project(tmp_path_factory.mktemp("seeds"), language)) as site:
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def oneshot(tmp_path_factory: pytest.TempPathFactory, language: str) -> AsyncIterator[Served]:
    async with served(project(tmp_path_factory.mktemp("seeds"), language), "--policy=oneshot") as site:
        yield site


def name_of(seed: Seed) -> str:
    return seed.function


async def call(site: Served, seed: Seed) -> httpx.Response:
    response = await site.call(seed.function, method="POST", json={"imageData": "pixels"})
    assert response.status_code == 200
    assert (response.json() if seed.answer != "ok" else response.text) == seed.answer
    return response


def test_every_function_is_observed_here() -> None:
    functions = {path.parent.name for path in SEEDS.glob("supabase/functions/*/index.ts")}
    assert {path.parent.name for path in TWINS.glob("*/main.py")} == functions
    assert {seed.function for seed in (*SUCCEEDING, *TOP_LEVEL, *FAILING, *WITHOUT_A_TASK)} == functions


@pytest.mark.parametrize("seed", SUCCEEDING, ids=name_of)
async def test_the_response_comes_first_and_the_effect_later(per_worker: Served, seed: Seed) -> None:
    response = await call(per_worker, seed)
    arrival = await per_worker.gate.arrival(seed.work)
    mine = {"function": seed.function, "request_id": response.headers["sb-request-id"]}
    await per_worker.node.wait_for("log", msg=lambda text: text.startswith(f"{seed.work}: started"), **mine)
    assert per_worker.node.found("log", msg=lambda text: text.startswith(f"{seed.work}: ended"), **mine) == []
    assert per_worker.node.found("task", **mine) == []
    arrival.let_go()
    await per_worker.node.wait_for("log", msg=lambda text: text.startswith(f"{seed.work}: ended"), **mine)
    (task,) = await per_worker.finished(response)
    assert (task["outcome"], task["level"]) == ("fulfilled", "info")


@pytest.mark.parametrize("seed", TOP_LEVEL, ids=name_of)
async def test_the_top_level_starts_a_task_once(per_worker: Served, seed: Seed) -> None:
    responses = [await call(per_worker, seed) for _ in range(2)]
    assert len({response.headers["x-sb-execution-id"] for response in responses}) == 1
    arrival = await per_worker.gate.arrival(seed.work)
    assert per_worker.node.found("task", function=seed.function) == []
    arrival.let_go()
    task = await per_worker.node.wait_for("task", function=seed.function)
    assert task["outcome"] == "fulfilled"
    assert "request_id" not in task
    assert not per_worker.gate.has_come(seed.work)


async def test_the_task_handles_its_own_error(per_worker: Served, language: str) -> None:
    (seed,) = [seed for seed in FAILING if seed.function == "practices-background-errors"]
    response = await call(per_worker, seed)
    (await per_worker.gate.arrival("longRunningTask")).let_go()
    (await per_worker.gate.arrival("logError")).let_go()
    (task,) = await per_worker.finished(response)
    assert (task["outcome"], task["level"]) == ("fulfilled", "info")
    line = await per_worker.node.wait_for("log", level="error", function=seed.function)
    assert line["msg"].startswith(f"Background task error: {SHOWN[language]}")
    assert per_worker.node.found("uncaught", function=seed.function) == []


async def test_a_listener_hears_of_the_failed_task(per_worker: Served, language: str) -> None:
    (seed,) = [seed for seed in FAILING if seed.function == "guide-unhandledrejection"]
    response = await call(per_worker, seed)
    (await per_worker.gate.arrival("longRunningTask")).let_go()
    (task,) = await per_worker.finished(response)
    assert (task["outcome"], task["level"]) == ("rejected", "error")
    assert "the long-running task failed" in task["stack"]
    line = await per_worker.node.wait_for("log", function=seed.function, msg=lambda t: t.startswith("unhandledrej"))
    assert line["msg"].startswith(f"unhandledrejection {SHOWN[language]}")
    await assert_lives_on(per_worker, seed, response)


async def test_a_listener_hears_of_a_rejection_that_nobody_awaits(per_worker: Served, language: str) -> None:
    (seed,) = WITHOUT_A_TASK
    response = await call(per_worker, seed)
    (await per_worker.gate.arrival("longRunningTask")).let_go()
    line = await per_worker.node.wait_for("log", function=seed.function, level="error")
    assert line["msg"].startswith(f"Unhandled rejection: {SHOWN[language]}")
    assert per_worker.node.found("task", function=seed.function) == []
    await assert_lives_on(per_worker, seed, response)


async def assert_lives_on(site: Served, seed: Seed, response: httpx.Response) -> None:
    again = await call(site, seed)
    assert again.headers["x-sb-execution-id"] == response.headers["x-sb-execution-id"]
    assert site.node.found("uncaught", function=seed.function) == []
    assert site.node.found("retire", function=seed.function) == []
    (await site.gate.arrival(seed.work)).let_go()


@pytest.mark.parametrize("seed", [*SUCCEEDING, *TOP_LEVEL, *FAILING], ids=name_of)
async def test_oneshot_cuts_the_task_off_and_says_so(oneshot: Served, seed: Seed) -> None:
    since = oneshot.now
    response = await call(oneshot, seed)
    life = {"function": seed.function, "execution_id": response.headers["x-sb-execution-id"], "since": since}
    cut = await oneshot.node.wait_for("task", **life)
    assert (cut["outcome"], cut["reason"], cut["level"]) == ("interrupted", "oneshot", "warning")
    assert 'policy = "per_worker" lets tasks finish' in cut["msg"]
    assert cut["execution_id"] == response.headers["x-sb-execution-id"]
    assert cut["ms"] >= 0
    assert (await oneshot.node.wait_for("shutdown", **life))["reason"] == "oneshot"
    assert oneshot.node.found("log", msg=lambda text: ": ended" in text, **life) == []
    again = await call(oneshot, seed)
    assert again.headers["x-sb-execution-id"] != response.headers["x-sb-execution-id"]


@pytest.mark.parametrize("function", LISTENING)
async def test_oneshot_tells_the_listener_before_it_cuts(oneshot: Served, function: str) -> None:
    (seed,) = [seed for seed in TOP_LEVEL if seed.function == function]
    since = oneshot.now
    response = await call(oneshot, seed)
    await oneshot.node.wait_for("task", function=function, since=since)
    (line,) = oneshot.node.found("log", function=function, since=since, msg=LISTENING[function])
    assert line["execution_id"] == response.headers["x-sb-execution-id"]


async def test_oneshot_does_not_wait_for_what_is_no_task(oneshot: Served) -> None:
    (seed,) = WITHOUT_A_TASK
    response = await call(oneshot, seed)
    execution_id = response.headers["x-sb-execution-id"]
    assert (await oneshot.node.wait_for("shutdown", execution_id=execution_id))["reason"] == "oneshot"
    assert oneshot.node.found("task", function=seed.function) == []


async def test_the_listener_hears_why_and_the_task_still_ends(tmp_path: Path, language: str) -> None:
    seeds = [seed for seed in TOP_LEVEL if seed.function in LISTENING]
    async with served(project(tmp_path, language, only="*-beforeunload")) as site:
        for seed in seeds:
            await call(site, seed)
        arrivals = [await site.gate.arrival(seed.work) for seed in seeds]
        stopping = asyncio.create_task(site.node.stop())
        for function, line in LISTENING.items():
            await site.node.wait_for("log", function=function, msg=line)
        assert site.node.found("task") == []
        for arrival in arrivals:
            arrival.let_go()
        assert await stopping == 0
        for function, line in LISTENING.items():
            (task,) = site.node.found("task", function=function)
            assert task["outcome"] == "fulfilled"
            assert len(site.node.found("log", msg=line)) == 1
            assert site.node.found("beforeunload", function=function)[0]["reason"] == "termination"
