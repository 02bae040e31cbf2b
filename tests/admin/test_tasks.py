"""What became of background tasks, asked by HTTP."""

import datetime
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from tests.support.node import Node

from outlast.admin import node as admin
from outlast.admin.api import api as api_of
from outlast.core.records import TaskCount, TaskQuery
from outlast.ledger.ledger import TooMany
from outlast.ledger.memory import MemoryLedger


async def settled_task(node: Node, functions: httpx.AsyncClient, name: str) -> str:
    """Id of a task of the function `napping` that has settled."""
    await functions.get(f"/napping?name={name}")
    await functions.get("/napping?wake")
    return str((await node.wait_for("task", name=name))["task_id"])


class TestTasks:
    async def test_an_open_one_and_how_it_ends(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
    ) -> None:
        request_id = (await functions.get("/napping?name=open")).headers["sb-request-id"]
        [task] = (await api.get("/v1/tasks", params={"request": request_id, "open": "true"})).json()["items"]
        assert task["name"] == "open"
        assert task["outcome"] is None
        await functions.get("/napping?wake")
        await node.wait_for("task", task_id=task["id"])
        story = (await api.get(f"/v1/tasks/{task['id']}")).json()
        assert story["task"]["outcome"] == "fulfilled"
        assert story["task"]["ms"] > 0
        assert story["tasks"] == [story["task"]]
        assert story["request"]["id"] == request_id
        assert story["request"]["status"] == 200
        assert [(event["event"], event.get("msg")) for event in story["events"]] == [("log", "asked for open")]

    async def test_newest_first_page_by_page(
        self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
    ) -> None:
        ids = [await settled_task(node, functions, f"page-{number}") for number in range(3)]
        asked = {"function": "napping", "limit": "2"}
        first = (await api.get("/v1/tasks", params=asked)).json()
        second = (await api.get("/v1/tasks", params={**asked, "cursor": first["cursor"]})).json()
        assert [task["id"] for task in first["items"] + second["items"]][:3] == ids[::-1]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"outcome": "fulfilled"}, True),
            ({"outcome": "rejected"}, False),
            ({"reason": "crash"}, False),
            ({"open": "false"}, True),
            ({"open": "true"}, False),
            ({"function": "napping"}, True),
            ({"function": "hello"}, False),
            ({"since": "-1h"}, True),
            ({"until": "-1h"}, False),
        ],
        ids=str,
    )
    async def test_filters(
        self,
        node: Node,
        api: httpx.AsyncClient,
        functions: httpx.AsyncClient,
        query: dict[str, str],
        found: bool,
    ) -> None:
        hour_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        id_ = await settled_task(node, functions, "filtered")
        params = {name: hour_ago.isoformat() if text == "-1h" else text for name, text in query.items()}
        items = (await api.get("/v1/tasks", params={"name": "filtered", **params})).json()["items"]
        assert (id_ in [task["id"] for task in items]) is found

    async def test_counts(self, node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
        await settled_task(node, functions, "counted")
        [count] = (await api.get("/v1/task-counts", params={"name": "counted"})).json()["items"]
        assert count == {"function": "napping", "outcome": "fulfilled", "reason": None, "count": 1}


async def test_more_than_can_be_counted() -> None:
    class Millions(MemoryLedger):
        async def counts(self, query: TaskQuery) -> list[TaskCount]:
            raise TooMany("ask for less")

    transport = httpx.ASGITransport(api_of(cast(admin.Node, SimpleNamespace(ledger=Millions()))))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        answer = await client.get("/v1/task-counts")
    assert (answer.status_code, answer.json()) == (503, {"code": "TOO_MANY", "message": "ask for less"})


async def test_requests_and_lives(node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
    answer = await functions.get("/hello")
    [newest] = (await api.get("/v1/requests", params={"function": "hello", "limit": 1})).json()["items"]
    assert newest["id"] == answer.headers["sb-request-id"]
    assert newest["execution_id"] == answer.headers["x-sb-execution-id"]
    lives = (await api.get("/v1/executions", params={"function": "hello", "open": "true"})).json()["items"]
    assert answer.headers["x-sb-execution-id"] in [life["id"] for life in lives]
