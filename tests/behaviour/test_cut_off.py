"""A task that something cuts off is named, with its age and the reason; a caller who leaves cuts off nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.behaviour.served import Served, assemble, served

FUNCTIONS = ("leaving", "cut-off", "saving")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def oneshot(language: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    hasty = "[functions.saving.limits]\nunload_grace_ms = 100"
    project = assemble(tmp_path_factory.mktemp("oneshot"), language, ("cut-off", "saving"), outlast=hasty)
    async with served(project, "--policy=oneshot") as site:
        yield site


async def test_a_caller_who_leaves_aborts_the_request_and_not_its_task(site: Served, work: str) -> None:
    _, writer = await asyncio.open_connection(*site.node.address)
    writer.write(f"GET /functions/v1/leaving?work={work} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    arrival = await site.gate.arrival(work)
    await site.gate.arrival(f"{work}-response")
    writer.transport.abort()
    aborted = await site.node.wait_for("log", msg=f"{work} aborted")
    assert arrival.waits
    assert site.node.found("task", name=work) == []
    arrival.let_go()
    task = await site.node.wait_for("task", name=work)
    assert (task["outcome"], task["request_id"]) == ("fulfilled", aborted["request_id"])
    request = await site.node.wait_for("request", request_id=task["request_id"])
    assert request["status"] == 0


async def test_a_request_that_was_answered_is_not_aborted(site: Served, work: str) -> None:
    calling = asyncio.create_task(site.call("leaving", params={"work": work}))
    (await site.gate.arrival(f"{work}-response")).let_go("answer")
    assert (await calling).text == "answer"
    (await site.gate.arrival(work)).let_go()
    await site.finished(await calling)
    assert site.node.found("log", msg=f"{work} aborted") == []


async def test_oneshot_names_what_it_cuts_and_how_to_keep_it(oneshot: Served) -> None:
    response = await oneshot.call("cut-off", params={"work": "report"})
    assert response.text == "ok"
    cut = await oneshot.node.wait_for("task", name="report")
    assert (cut["level"], cut["outcome"], cut["reason"]) == ("warning", "interrupted", "oneshot")
    assert 'policy = "per_worker" lets tasks finish' in cut["msg"]
    assert cut["request_id"] == response.headers["sb-request-id"]
    assert oneshot.node.found("task", name="report-quick")[0]["outcome"] == "fulfilled"
    assert len(oneshot.node.found("log", msg="beforeunload termination")) == 1


async def test_oneshot_can_wait_for_tasks(tmp_path: Path, language: str) -> None:
    project = assemble(tmp_path, language, ("cut-off",), outlast='oneshot_background = "wait"')
    async with served(project, "--policy=oneshot") as site:
        first = await site.call("cut-off", params={"work": "first"})
        second = await site.call("cut-off", params={"work": "second"})
        assert first.headers["x-sb-execution-id"] != second.headers["x-sb-execution-id"]
        for response, work in ((second, "second"), (first, "first")):
            (await site.gate.arrival(work)).let_go()
            tasks = await site.finished(response, count=2)
            assert {task["outcome"] for task in tasks} == {"fulfilled"}
            execution_id = response.headers["x-sb-execution-id"]
            assert (await site.node.wait_for("shutdown", execution_id=execution_id))["reason"] == "oneshot"
        assert len(site.node.found("log", msg="beforeunload early_drop")) == 2


async def test_shutdown_names_what_it_cuts(tmp_path: Path, language: str) -> None:
    project = assemble(tmp_path, language, ("cut-off",))
    async with served(project, "--graceful-exit-timeout=0.2") as site:
        response = await site.call("cut-off", params={"work": "report"})
        await site.gate.arrival("report")
        assert await site.node.stop() == 0
        (cut,) = site.node.found("task", name="report")
        assert (cut["level"], cut["outcome"], cut["reason"]) == ("warning", "interrupted", "termination")
        assert "--graceful-exit-timeout" in cut["msg"]
        assert cut["ms"] >= 150
        assert cut["request_id"] == response.headers["sb-request-id"]
        assert len(site.node.found("log", msg="beforeunload termination")) == 1


@pytest.mark.parametrize("policy", ["per_worker", "oneshot"])
async def test_what_a_listener_begins_is_waited_for(tmp_path: Path, language: str, policy: str) -> None:
    project = assemble(tmp_path, language, ("saving",))
    async with served(project, f"--policy={policy}") as site:
        response = await site.call("saving")
        execution_id = response.headers["x-sb-execution-id"]
        stopping = asyncio.create_task(site.node.stop())
        arrival = await site.gate.arrival("save")
        assert site.node.found("shutdown") == []
        arrival.let_go("state")
        await site.node.wait_for("log", msg="saved state", execution_id=execution_id)
        assert await stopping == 0
        (saved,) = site.node.found("task", name="save")
        assert (saved["outcome"], saved["execution_id"]) == ("fulfilled", execution_id)
        assert len(site.node.found("log", msg=lambda text: text.startswith("asked to save"))) == 1


async def test_a_listener_that_takes_too_long_is_not_waited_for(oneshot: Served) -> None:
    await oneshot.call("saving")
    await (await oneshot.gate.arrival("save")).gone()
    cut = await oneshot.node.wait_for("task", name="save")
    assert (cut["outcome"], cut["reason"], cut["level"]) == ("interrupted", "early_drop", "warning")
    assert cut["msg"].endswith(
        "has 100 ms. To give it longer: [functions.saving.limits] unload_grace_ms in outlast.toml"
    )
    assert (await oneshot.node.wait_for("shutdown", function="saving"))["reason"] == "oneshot"
