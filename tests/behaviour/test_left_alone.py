"""What a function still does for a request that nobody waits for any more is a background task."""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.behaviour.gate import Arrival
from tests.behaviour.served import PYTHON_ONLY, Served, assemble, served
from tests.support.admin import admin
from websockets.asyncio.client import connect

FUNCTIONS = ("abandoned", "heeding")
PATIENCE_S = 20
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: the connection is not closed, but reset."""


async def leave(site: Served, work: str, *, path: str = "abandoned", body: bytes = b"") -> tuple[Arrival, str]:
    """Calls, and leaves when the work has begun. Returns where that waits, and the id of the request."""
    since = site.now
    _, writer = await asyncio.open_connection(*site.node.address)
    head = f"POST /functions/v1/{path}?work={work} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    arrival = await site.gate.arrival(work)
    writer.transport.abort()
    request = await site.node.wait_for("request", since=since, status=0)
    return arrival, request["request_id"]


async def is_task(site: Served, request_id: str) -> dict[str, Any]:
    """Waits until the request has an open task."""
    async with admin(site.node) as api, asyncio.timeout(PATIENCE_S):
        while not (tasks := await ask(api, "/v1/tasks", request=request_id, open="true")):
            pass
    (task,) = tasks
    return task


async def ask(api: Any, endpoint: str, **params: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await api.get(endpoint, params=params)).json()["items"]
    return items


@asynccontextmanager
async def serving(folder: Path, language: str, *arguments: str, outlast: str = "") -> AsyncIterator[Served]:
    async with served(assemble(folder, language, FUNCTIONS, outlast=outlast), *arguments) as site:
        yield site


async def test_it_is_on_record_from_when_its_caller_leaves_to_its_end(site: Served, work: str) -> None:
    arrival, request_id = await leave(site, work)
    assert (await is_task(site, request_id))["name"] == "POST /abandoned"
    arrival.let_go()
    task = await site.node.wait_for("task", request_id=request_id)
    assert (task["name"], task["outcome"], task["level"]) == ("POST /abandoned", "fulfilled", "info")
    assert site.node.found("log", msg=f"{work} saved", request_id=request_id)
    # Its worker is none the worse for it.
    answering = asyncio.create_task(site.call("abandoned", params={"work": f"{work}-next"}))
    (await site.gate.arrival(f"{work}-next")).let_go()
    response = await answering
    assert (response.text, response.headers["x-sb-execution-id"]) == (f"{work}-next", task["execution_id"])
    assert not site.node.found("task", request_id=response.headers["sb-request-id"])


async def test_its_failure_is_told_once(site: Served, work: str) -> None:
    arrival, request_id = await leave(site, work)
    await is_task(site, request_id)
    arrival.let_go("fail")
    task = await site.node.wait_for("task", request_id=request_id)
    assert (task["outcome"], task["level"]) == ("rejected", "error")
    assert f"{work} failed" in task["stack"]
    answering = asyncio.create_task(site.call("abandoned", params={"work": f"{work}-next"}))
    (await site.gate.arrival(f"{work}-next")).let_go()
    assert (await answering).headers["x-sb-execution-id"] == task["execution_id"]
    assert site.node.found(request_id=request_id, level="error") == [task]


async def test_what_stops_when_its_caller_leaves_is_none(tmp_path: Path, language: str) -> None:
    async with serving(tmp_path, language) as site:
        requests = [(await leave(site, f"work-{number}", path="heeding"))[1] for number in range(5)]
        await site.node.wait_for("log", function="heeding", msg="stopped", count=5)
        assert await site.node.stop() == 0
        assert {entry["request_id"] for entry in site.node.found("log", msg="stopped")} == {*requests}
        assert not site.node.found("task")


async def test_a_retired_worker_ends_after_it(site: Served, work: str) -> None:
    arrival, request_id = await leave(site, work)
    since = site.now
    async with admin(site.node) as api:
        (await api.post("/v1/functions/abandoned/reload")).raise_for_status()
    worker = (await site.node.wait_for("retire", since=since))["execution_id"]
    answering = asyncio.create_task(site.call("abandoned", params={"work": f"{work}-next"}))
    (await site.gate.arrival(f"{work}-next")).let_go()
    assert (await answering).headers["x-sb-execution-id"] != worker
    assert not site.node.found("shutdown", execution_id=worker)
    arrival.let_go()
    task = await site.node.wait_for("task", request_id=request_id)
    assert (task["outcome"], task["execution_id"]) == ("fulfilled", worker)
    assert (await site.node.wait_for("shutdown", execution_id=worker))["reason"] == "reload"


async def test_what_kills_its_worker_is_on_record(site: Served, work: str) -> None:
    arrival, request_id = await leave(site, work)
    worker = (await is_task(site, request_id))["execution_id"]
    async with admin(site.node) as api:
        [pid] = [each["pid"] for each in await ask(api, "/v1/workers") if each["id"] == worker]
    os.kill(pid, signal.SIGKILL)
    await arrival.gone()
    task = await site.node.wait_for("task", request_id=request_id)
    assert (task["name"], task["outcome"], task["reason"]) == ("POST /abandoned", "interrupted", "crash")


async def test_oneshot_names_what_it_cuts(tmp_path: Path, language: str) -> None:
    async with serving(tmp_path, language, "--policy=oneshot") as site:
        _, request_id = await leave(site, "long")
        cut = await site.node.wait_for("task", request_id=request_id)
        assert (cut["name"], cut["outcome"], cut["reason"]) == ("POST /abandoned", "interrupted", "oneshot")


async def test_oneshot_can_wait_for_it(tmp_path: Path, language: str) -> None:
    async with serving(tmp_path, language, "--policy=oneshot", outlast='oneshot_background = "wait"') as site:
        arrival, request_id = await leave(site, "long")
        await is_task(site, request_id)
        arrival.let_go()
        task = await site.node.wait_for("task", request_id=request_id)
        assert task["outcome"] == "fulfilled"
        assert (await site.node.wait_for("shutdown", execution_id=task["execution_id"]))["reason"] == "oneshot"


async def test_a_caller_whom_the_function_keeps_waiting_too_long_is_one_that_has_left(
    tmp_path: Path, language: str
) -> None:
    async with serving(tmp_path, language, outlast="[limits]\nrequest_idle_ms = 500") as site:
        response = await site.call("abandoned", params={"work": "long"})
        assert response.status_code == 504
        await is_task(site, response.headers["sb-request-id"])
        (await site.gate.arrival("long")).let_go()
        (task,) = await site.finished(response)
        assert (task["name"], task["outcome"]) == ("GET /abandoned", "fulfilled")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deaf(language: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(assemble(tmp_path_factory.mktemp("deaf"), language, ("deaf",))) as site:
        yield site


@PYTHON_ONLY
class TestOfWhatIsNotRead:
    """As long as a function reads nothing, its worker does not notice the end of the connection."""

    async def test_a_body(self, deaf: Served, work: str) -> None:
        arrival, request_id = await leave(deaf, work, path="deaf", body=bytes(128 * 1024))
        assert (await is_task(deaf, request_id))["name"] == "POST /deaf"
        arrival.let_go()
        task = await deaf.node.wait_for("task", request_id=request_id)
        assert task["outcome"] == "fulfilled"

    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_a_websocket(self, deaf: Served, work: str, how: str) -> None:
        since = deaf.now
        host, port = deaf.node.address
        client = await connect(f"ws://{host}:{port}/functions/v1/deaf?work={work}")
        arrival = await deaf.gate.arrival(work)
        if how == "reset":
            await client.send("hello")
            client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.transport.abort()
        else:
            await client.close()
        request_id = (await deaf.node.wait_for("request", since=since))["request_id"]
        assert (await is_task(deaf, request_id))["name"] == "WebSocket /deaf"
        arrival.let_go()
        task = await deaf.node.wait_for("task", request_id=request_id)
        assert task["outcome"] == "fulfilled"
