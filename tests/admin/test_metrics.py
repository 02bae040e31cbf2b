"""What Prometheus gets to see."""

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.support.admin import PATIENCE_S, admin
from tests.support.node import Event, Node, serving, write_project

from outlast.request_log import UNREAD_LOGGED

NAPPING = """
import asyncio
from outlast import EdgeRuntime, Request, Response, serve

@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.Event().wait())
    return Response("asleep")
"""


async def scraped(api: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of the labels' names."""
    answer = await api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value for sample in samples
    }
    assert len(found) == len(samples), "Prometheus takes nothing where a sample is there twice"
    return found


async def test_requests_tasks_and_workers(node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient) -> None:
    execution_id = (await functions.get("/napping?name=counted")).headers["x-sb-execution-id"]
    open_now = await scraped(api)
    assert open_now["outlast_open_tasks", "napping"] == 1
    assert open_now["outlast_workers", "napping", "ready"] == 1
    assert open_now["outlast_requests_in_progress", "napping"] == 0
    assert open_now["outlast_requests_waiting", "napping"] == 0
    await functions.get("/napping?wake")
    await node.wait_for("task", name="counted")
    found = await scraped(api)
    assert found["outlast_open_tasks", "napping"] == 0
    assert found["outlast_requests_total", "napping", "2xx"] == 2
    assert found["outlast_request_duration_seconds_count", "napping"] == 2
    assert found["outlast_tasks_total", "napping", "fulfilled", ""] == 1
    assert 0 < found["outlast_task_duration_seconds_sum", "napping"] < 60
    assert found["outlast_cold_start_seconds_count", "napping"] == 1
    # The first request came before there was a worker.
    assert found["outlast_queue_wait_seconds_count", "napping"] == 1
    await api.post("/v1/functions/napping/drain")
    await node.wait_for("shutdown", execution_id=execution_id)
    assert (await scraped(api))["outlast_worker_ends_total", "napping", "reload"] == 1


async def test_a_function_counts_once_while_workers_of_two_policies_run(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"napping/main.py": NAPPING})
    async with (
        serving(project, "--graceful-exit-timeout=0") as node,
        admin(node) as api,
        httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S) as functions,
    ):
        await functions.get("/napping")
        (await api.put("/v1/settings", json={"policy": "per_request"})).raise_for_status()
        await functions.get("/napping")
        await api.post("/v1/catch-up")
        found = await scraped(api)
        assert found["outlast_open_tasks", "napping"] == 2
        assert found["outlast_workers", "napping", "ready"] == found["outlast_workers", "napping", "retired"] == 1
        [listed] = (await api.get("/v1/functions")).json()["items"]
        assert (listed["policy"], listed["open_tasks"]) == ("per_request", 2)


async def test_each_request_is_counted_in_the_bucket_of_its_time(
    node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
) -> None:
    await functions.get("/hello")
    [request] = node.found("request", function="hello") or [await node.wait_for("request", function="hello")]
    found = await scraped(api)
    buckets = {
        float(labels[1]): value
        for (name, *labels), value in found.items()
        if name == "outlast_request_duration_seconds_bucket" and labels[0] == "hello"
    }
    assert len(buckets) > 10
    assert all(value == (request["ms"] / 1000 <= bound) for bound, value in buckets.items())


async def test_what_clients_make_up_makes_no_labels(
    node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
) -> None:
    before = await scraped(api)
    for number in range(3):
        assert (await functions.get(f"/functions/v1/made-up-{number}")).status_code == 404
    after = await scraped(api)
    assert not [key for key in after if any("made-up" in part for part in key)]
    assert after["outlast_requests_total", "", "4xx"] == before.get(("outlast_requests_total", "", "4xx"), 0) + 3


async def test_requests_that_cannot_be_read_are_counted_all_and_logged_some(node: Node, api: httpx.AsyncClient) -> None:
    since, flood = len(node.events), 2 * UNREAD_LOGGED.burst_lines
    key = ("outlast_requests_total", "", "4xx")
    before = (await scraped(api)).get(key, 0)
    for _ in range(flood):
        reader, writer = await asyncio.open_connection(*node.address)
        writer.write(b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    assert (await scraped(api))[key] == before + flood
    logged: list[Event] = []
    left_out = 0
    while len(logged) + left_out < flood:
        await node.wait_for(since=since)
        logged += node.found("request", since, status=400, client="127.0.0.1")
        left_out += sum(event["lines"] for event in node.found("log_suppressed", since))
        since = len(node.events)
    assert UNREAD_LOGGED.burst_lines <= len(logged) < flood
    assert "control character" in logged[0]["msg"]


async def test_the_ledger_and_the_log(api: httpx.AsyncClient) -> None:
    found = await scraped(api)
    for name in ("outlast_ledger_backlog", "outlast_ledger_dropped_total", "outlast_log_lines_lost_total"):
        assert found[(name,)] == 0
    assert found[("outlast_ledger_connected",)] == 0
    assert found[("outlast_start_time_seconds",)] > 1.7e9


async def test_counting_goes_on_where_nothing_is_logged(
    node: Node, api: httpx.AsyncClient, functions: httpx.AsyncClient
) -> None:
    key = ("outlast_requests_total", "hello", "2xx")
    await api.put("/v1/log-level", json={"level": "error"})
    try:
        before = (await scraped(api)).get(key, 0)
        await functions.get("/hello")
        assert (await scraped(api))[key] == before + 1
    finally:
        await api.put("/v1/log-level", json={"level": "info"})
