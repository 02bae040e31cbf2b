"""The functions of docs/background-tasks.md run, and do what the page says; its tables name what the code names."""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from deno import find_deno_bin
from tests.support.node import DENO_DIR, Node, serving, write_project

from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.policy import Policy
from outlast.gateway.ports import Served

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "background-tasks.md").read_text()
BLOCK = re.compile(r"^```(?:typescript|python)\n(?://|#) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FUNCTIONS = dict(BLOCK.findall(TEXT))


def first_column(after: str) -> set[str]:
    table = re.search(r"^\| ---[^\n]*\n((?:\|[^\n]*\n)+)", TEXT[TEXT.index(after) :], re.MULTILINE)
    assert table is not None
    return set(re.findall(r"^\| `(\w+)`", table[1], re.MULTILINE))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with serving(write_project(tmp_path_factory.mktemp("docs"), FUNCTIONS)) as node:
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{node.url}/functions/v1", timeout=40) as client:
        yield client


def test_every_function_on_the_page_is_run() -> None:
    fences = re.findall(r"^```(?:typescript|python)$", TEXT, re.MULTILINE)
    assert len(fences) == len(FUNCTIONS)
    names = {path.partition("/")[0] for path in FUNCTIONS}
    assert names == {"report", "report_py", "rates", "mirror", "careful", "counter"}


def test_their_types_are_those_that_the_page_names(tmp_path: Path) -> None:
    (named,) = re.findall(r"\]\((\.\./[^)]+\.d\.ts)\)", TEXT)
    configuration = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[0]
    write_project(tmp_path, FUNCTIONS)
    shutil.copy(ROOT / "docs" / named, tmp_path)
    (tmp_path / "deno.json").write_text(configuration)
    (functions,) = {path.parents[1] for path in tmp_path.rglob("index.ts")}
    # One with a deno.json of its own, and that uses what other types do not know.
    (functions / "own").mkdir()
    (functions / "own" / "deno.json").write_text(configuration.replace("./", "../../../"))
    (functions / "own" / "index.ts").write_text(
        'addEventListener("beforeunload", (event) => console.log(event.detail.reason === "early_drop"));\n'
    )
    subprocess.run(
        [find_deno_bin(), "check", "--quiet", functions],
        cwd=tmp_path,
        env={**os.environ, "DENO_DIR": str(DENO_DIR)},
        check=True,
    )


@pytest.mark.parametrize("function", ["report", "report_py"])
async def test_the_response_leaves_without_the_task(node: Node, client: httpx.AsyncClient, function: str) -> None:
    response = await client.get(f"/{function}")
    assert response.status_code == 202
    printed = await node.wait_for("log", function=function, msg=f"report {response.json()['accepted']} is made")
    task = await node.wait_for("task", function=function, name="make-report")
    assert task["outcome"] == "fulfilled"
    assert printed["request_id"] == task["request_id"] == response.headers["sb-request-id"]
    served = await node.wait_for("request", request_id=task["request_id"])
    assert node.events.index(served) < node.events.index(printed) < node.events.index(task)


async def test_a_task_of_the_top_level(node: Node, client: httpx.AsyncClient) -> None:
    await client.get("/rates")
    task = await node.wait_for("task", function="rates", name="load-rates", outcome="fulfilled")
    assert "request_id" not in task
    assert (await client.get("/rates")).json() == {"EUR": 1.08}


async def test_a_task_that_can_be_stopped(node: Node, client: httpx.AsyncClient) -> None:
    assert (await client.get("/mirror")).status_code == 400
    assert (await client.get("/mirror", params={"url": f"{node.url}/_internal/health"})).status_code == 202
    await node.wait_for("task", function="mirror", name="mirror", outcome="fulfilled")


async def test_a_failure_that_is_dealt_with(node: Node, client: httpx.AsyncClient) -> None:
    first = await client.get("/careful")
    task = await node.wait_for("task", function="careful", name="send-mail", outcome="rejected")
    assert "no mail server" in task["stack"]
    await node.wait_for("log", function="careful", msg=lambda text: text.startswith("a task failed:"))
    second = await client.get("/careful")
    assert first.headers["x-sb-execution-id"] == second.headers["x-sb-execution-id"]
    assert not node.found("uncaught", function="careful")


async def test_last_words(client: httpx.AsyncClient, tmp_path: Path) -> None:
    name = "counter/index.ts"
    async with serving(write_project(tmp_path, {name: FUNCTIONS[name]})) as node:
        assert (await client.get(f"{node.url}/counter")).json() == {"visits": 1}
        await node.stop()
        assert node.found("log", msg="ending: termination")
        assert node.found("log", msg="1 visits saved")
        assert node.found("task", name="save-visits", outcome="fulfilled")


def test_the_events_are_those_that_the_code_logs() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src" / "outlast").rglob("*.py"))
    logged = set(re.findall(r"emit\w*[(,]\s*\"(\w+)\"", sources))
    assert first_column("| event | fields |") == logged


def test_the_fields_of_a_request() -> None:
    (fields,) = re.findall(r"^\| `request` \| ([^|]+) \|", TEXT, re.MULTILINE)
    in_all_events = {"function", "execution_id", "request_id", "msg"}
    assert set(re.findall(r"`(\w+)`", fields)) == {*Served.__struct_encode_fields__} - in_all_events


def test_the_outcomes_reasons_and_policies_are_those_of_the_code() -> None:
    assert first_column("| outcome | level |") == set(TaskOutcome)
    assert first_column("| reason | what happened |") <= set(EndReason)
    assert first_column("| policy | a worker |") == set(Policy)
