"""What the admin API tells and does."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.support.admin import admin, messages
from tests.support.node import Node, serving, write_project

UNKNOWN = "00000000-0000-7000-8000-000000000000"
HELLO = 'Deno.serve(() => new Response("hello"))'


@pytest.fixture
async def awake(functions: httpx.AsyncClient) -> AsyncIterator[None]:
    """No task is left open for the next test."""
    yield
    await functions.get("/napping?wake")


def only(response: httpx.Response, status: int = 200) -> dict:
    assert response.status_code == status, response.text
    return response.json()


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


class TestWhatIsThere:
    async def test_the_node(self, node: Node, api: httpx.AsyncClient) -> None:
        told = only(await api.get("/v1/node"))
        assert told["url"] == node.url
        assert told["pid"] == node.process.pid
        assert told["log_level"] == "info"
        assert told["ledger"]["backend"] in ("memory", "postgres")

    async def test_functions(self, api: httpx.AsyncClient) -> None:
        found = {function["name"]: function for function in only(await api.get("/v1/functions"))["items"]}
        assert {name: function["language"] for name, function in found.items()} == {
            "hello": "python",
            "napping": "typescript",
        }
        assert only(await api.get("/v1/functions/hello"))["entrypoint"].endswith("hello/main.py")

    async def test_a_worker_and_what_it_has_to_do(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient, awake: None
    ) -> None:
        execution_id = (await functions.get("/napping?name=counted")).headers["x-sb-execution-id"]
        [worker] = [
            worker
            for worker in only(await api.get("/v1/workers", params={"function": "napping"}))["items"]
            if worker["id"] == execution_id
        ]
        assert worker["state"] == "ready"
        assert worker["is_current"]
        assert worker["open_tasks"] == 1
        assert worker["requests"] == 0
        assert worker["requests_begun"] >= 1
        assert 0 < worker["memory_mb"] <= worker["memory_limit_mb"] == 256
        assert worker["cpu_limit_ms"] == 2000
        assert worker["wall_limit_ms"] == 400_000
        os.kill(worker["pid"], 0)
        assert only(await api.get("/v1/functions/napping"))["open_tasks"] == 1
        assert only(await api.get("/v1/workers", params={"function": "nobody"})) == {"items": []}

    @pytest.mark.skipif(sys.platform != "linux", reason="other kernels cannot be told")
    async def test_the_kernel_would_end_workers_before_the_node(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient, awake: None
    ) -> None:
        for name in ("hello", "napping"):
            await functions.get(f"/{name}")
        listed = only(await api.get("/v1/workers"))["items"]
        workers = [each for each in listed if each["state"] != "starting"]
        assert {worker["language"] for worker in workers} == {"python", "typescript"}
        mine = oom_score_adj(node.process.pid)
        assert [each["id"] for each in workers if oom_score_adj(each["pid"]) < mine + 500] == []

    @pytest.mark.parametrize(
        "path",
        ["/v1/functions/none", "/v1/tasks/none", f"/v1/tasks/{UNKNOWN}", f"/v1/requests/{UNKNOWN}", "/v2"],
    )
    async def test_what_is_not_there(self, api: httpx.AsyncClient, path: str) -> None:
        assert only(await api.get(path), 404)["code"] == "NOT_FOUND"

    @pytest.mark.parametrize(
        ("query", "named"),
        [
            ("limit=0", "limit"),
            ("limit=many", "limit"),
            ("open=1", "open"),
            ("since=yesterday", "since"),
            ("since=2024-01-01T00:00:00", "since"),
            ("outcome=lost", "outcome"),
            ("cursor=x", "cursor"),
            ("function=", "function"),
            ("name=%00", "name"),
            ("task=1", "task"),
            ("name=a&name=b", "name"),
        ],
    )
    async def test_a_wrong_question_is_told_what_is_wrong_with_it(
        self, api: httpx.AsyncClient, query: str, named: str
    ) -> None:
        answer = only(await api.get(f"/v1/tasks?{query}"), 400)
        assert answer["code"] == "BAD_QUERY"
        assert named in answer["message"]


class TestTheLog:
    async def test_what_was_printed_for_a_request(self, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        request_id = (await functions.get("/napping?wake&name=x")).headers["sb-request-id"]
        asked = await functions.get("/napping")
        found = only(await api.get("/v1/events", params={"request": asked.headers["sb-request-id"], "event": "log"}))
        [line] = found["items"]
        assert line["msg"] == "asked for null"
        assert line["function"] == "napping"
        assert line["execution_id"] == asked.headers["x-sb-execution-id"]
        assert only(await api.get("/v1/events", params={"request": request_id})) == {"items": []}

    async def test_a_request_with_what_was_printed_for_it(
        self, api: httpx.AsyncClient, functions: httpx.AsyncClient
    ) -> None:
        request_id = (await functions.get("/napping")).headers["sb-request-id"]
        story = only(await api.get(f"/v1/requests/{request_id}"))
        assert story["id"] == request_id
        assert [event["msg"] for event in story["events"]] == ["asked for null"]

    async def test_the_latest_events(self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        for _ in range(3):
            await functions.get("/napping")
        found = only(await api.get("/v1/events", params={"limit": 2, "function": "napping"}))["items"]
        written = [event for event in node.found(function="napping") if event["event"] not in ("request", "task")]
        assert found == written[-2:]

    async def test_live(self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient, awake: None) -> None:
        async with api.stream("GET", "/v1/events/live", params={"function": "napping"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            request_id = (await functions.get("/napping?name=watched")).headers["sb-request-id"]
            await functions.get("/hello")
            await functions.get("/napping?wake")
            heard = []
            async for _, event in messages(response):
                assert event["function"] == "napping"
                if event.get("request_id") == request_id:
                    heard.append(event)
                    if event["event"] == "task":
                        break
        assert [event["event"] for event in heard] == ["log", "request", "task"]
        await node.wait_for("task", request_id=request_id)
        assert heard == node.found(request_id=request_id)

    async def test_live_from_where_the_connection_was_lost(
        self, api: httpx.AsyncClient, functions: httpx.AsyncClient
    ) -> None:
        await functions.get("/napping")
        async with api.stream("GET", "/v1/events/live?recent=1&event=log") as response:
            fields, before = await anext(messages(response))
        missed = (await functions.get("/napping")).headers["sb-request-id"]
        last = {"last-event-id": fields["id"]}
        async with api.stream("GET", "/v1/events/live?event=log", headers=last) as response:
            again, event = await anext(messages(response))
        assert int(again["id"]) > int(fields["id"])
        assert event["request_id"] == missed != before["request_id"]

    async def test_live_ends_with_the_node(self, tmp_path: Path) -> None:
        async with serving(write_project(tmp_path, {"hello": HELLO})) as node, admin(node) as api:
            async with api.stream("GET", "/v1/events/live") as response:
                stopped = asyncio.create_task(node.stop())
                assert [event async for _, event in messages(response)] == []
            assert await stopped == 0

    async def test_the_level(self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        assert only(await api.get("/v1/log-level")) == {"level": "info"}
        try:
            assert only(await api.put("/v1/log-level", json={"level": "error"})) == {"level": "error"}
            quiet = (await functions.get("/napping")).headers["sb-request-id"]
        finally:
            assert only(await api.put("/v1/log-level", json={"level": "info"})) == {"level": "info"}
        loud = (await functions.get("/napping")).headers["sb-request-id"]
        await node.wait_for("request", request_id=loud)
        assert not node.found(request_id=quiet)
        # What is not written is still kept for those who ask.
        assert only(await api.get("/v1/events", params={"request": quiet}))["items"]

    @pytest.mark.parametrize(
        "body", ["", "{}", '{"level": "loud"}', '{"level": 1}', '{"level":"info","x":1}', "[", "\xff"]
    )
    async def test_a_wrong_level(self, api: httpx.AsyncClient, body: str) -> None:
        answer = await api.put("/v1/log-level", content=body.encode("latin-1"))
        assert only(answer, 400)["code"] == "BAD_BODY"

    async def test_a_body_that_is_too_long(self, api: httpx.AsyncClient) -> None:
        assert only(await api.put("/v1/log-level", content=b" " * 70_000), 413)["code"] == "TOO_LARGE"


class TestWhatCanBeDone:
    async def test_a_worker_is_drained_but_not_before_its_tasks_have_settled(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
    ) -> None:
        first = (await functions.get("/napping?name=last")).headers["x-sb-execution-id"]
        assert only(await api.post(f"/v1/workers/{first}/drain"), 202) == {"workers": [first]}
        await node.wait_for("retire", execution_id=first)
        second = (await functions.get("/napping")).headers["x-sb-execution-id"]
        assert second != first
        workers = {worker["id"]: worker for worker in only(await api.get("/v1/workers"))["items"]}
        assert workers[first]["state"] == "retired"
        assert workers[first]["open_tasks"] == 1
        os.kill(workers[first]["pid"], signal.SIGKILL)
        await node.wait_for("task", execution_id=first, outcome="interrupted")
        assert only(await api.post(f"/v1/workers/{second}/drain"), 202) == {"workers": [second]}
        await node.wait_for("shutdown", execution_id=second, reason="reload")
        assert only(await api.post(f"/v1/workers/{second}/drain"), 404)["code"] == "NOT_FOUND"

    @pytest.mark.parametrize("what", ["drain", "reload"])
    async def test_a_function_gets_new_workers(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient, what: str
    ) -> None:
        before = (await functions.get("/hello")).headers["x-sb-execution-id"]
        answer = only(await api.post(f"/v1/functions/hello/{what}"), 202)
        assert before in answer["workers"] if what == "drain" else answer == {"functions": ["hello"]}
        await node.wait_for("retire", execution_id=before)
        assert (await functions.get("/hello")).headers["x-sb-execution-id"] != before
        assert only(await api.post(f"/v1/functions/none/{what}"), 404)["code"] == "NOT_FOUND"

    async def test_settings_win_over_the_files(self, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        async def limit() -> int:
            execution_id = (await functions.get("/napping")).headers["x-sb-execution-id"]
            workers = only(await api.get("/v1/workers"))["items"]
            return next(worker["memory_limit_mb"] for worker in workers if worker["id"] == execution_id)

        given = {"functions": {"napping": {"limits": {"memory_mb": 500}}}}
        hello = (await functions.get("/hello")).headers["x-sb-execution-id"]
        try:
            assert only(await api.put("/v1/settings", json=given)) == given
            assert await limit() == 500
            refused = only(await api.put("/v1/settings", json={"functions": {"nobody": {}}}), 409)
            assert refused["message"].startswith("settings: functions.nobody: there is no such function")
            assert only(await api.get("/v1/settings")) == given
            # Not even a change of the files takes them back.
            await api.post("/v1/functions/napping/reload")
            assert await limit() == 500
        finally:
            assert only(await api.put("/v1/settings", json={})) == {}
        assert await limit() == 256
        assert (await functions.get("/hello")).headers["x-sb-execution-id"] == hello

    @pytest.mark.parametrize("body", ['{"x": 1}', '{"limits": 1}', '{"limits": {"memory_mb": "1"}}', "[]", ""])
    async def test_settings_of_no_sense(self, api: httpx.AsyncClient, body: str) -> None:
        assert only(await api.put("/v1/settings", content=body), 400)["code"] == "BAD_BODY"

    async def test_waiting_for_the_tasks_of_a_request(
        self, api: httpx.AsyncClient, functions: httpx.AsyncClient, awake: None
    ) -> None:
        path = "/v1/requests/" + (await functions.get("/napping?name=long")).headers["sb-request-id"]
        assert [task["outcome"] for task in only(await api.get(f"{path}?wait_ms=1"))["tasks"]] == [None]
        waiting = asyncio.create_task(api.get(f"{path}?wait_ms=20000"))
        await functions.get("/napping?wake")
        assert [task["outcome"] for task in only(await waiting)["tasks"]] == ["fulfilled"]
        assert only(await api.get(f"/v1/requests/{UNKNOWN}?wait_ms=20000"), 404)["code"] == "NOT_FOUND"

    async def test_catching_up(self, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        stuck = (await functions.get("/napping?spin=900")).headers["x-sb-execution-id"]
        assert only(await api.post("/v1/catch-up?wait_ms=200")) == {"silent": [stuck]}
        assert only(await api.post("/v1/catch-up?wait_ms=20000")) == {"silent": []}

    async def test_everything_is_read_again(self, tmp_path: Path) -> None:
        project = write_project(tmp_path, {"hello": HELLO})
        async with serving(project) as node, admin(node) as api, httpx.AsyncClient(base_url=node.url) as client:
            before = (await client.get("/hello", timeout=30)).headers["x-sb-execution-id"]
            assert only(await api.post("/v1/reload"), 202) == {"functions": ["hello"]}
            await node.wait_for("retire", execution_id=before)
            (project / "supabase/config.toml").write_text("[edge_runtime]\npolicy = 'never'\n")
            refused = only(await api.post("/v1/reload"), 409)
            assert refused["code"] == "BAD_CONFIGURATION"
            assert "config.toml:2" in refused["message"]
            assert (await client.get("/hello", timeout=30)).text == "hello"

    async def test_nothing_by_looking(self, api: httpx.AsyncClient) -> None:
        answer = await api.get("/v1/reload")
        assert only(answer, 405)["code"] == "METHOD_NOT_ALLOWED"
        assert answer.headers["allow"] == "POST"


async def test_the_document_describes_what_is_served(api: httpx.AsyncClient) -> None:
    document = only(await api.get("/openapi.json"))
    assert json.dumps(document).count("$defs") == 0
    for path, operations in document["paths"].items():
        answer = await api.request("TRACE", path.format(name="x", id="x"))
        allowed = {*answer.headers["allow"].replace(" ", "").split(",")} - {"HEAD"}
        assert allowed == {method.upper() for method in operations}
