"""What a collector of traces gets to see of requests and their tasks, with the caller's context and the function's."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.behaviour.served import Served, assemble, served
from tests.support.collector import Collector, collecting

FUNCTIONS = ("mirror", "tasks", "exiting")
SPINNING = {
    "typescript": """
Deno.serve(() => {
  EdgeRuntime.waitUntil(new Promise(() => {}), { name: "spun-over" });
  setTimeout(() => { while (true); });
  return new Promise<Response>(() => {});
});
""",
    "python": """
import asyncio
from outlast import EdgeRuntime, Request, Response, serve

def spin() -> None:
    while True:
        pass

@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.Event().wait(), name="spun-over")
    asyncio.get_running_loop().call_later(0.01, spin)
    await asyncio.Event().wait()
""",
}
ENTRYPOINTS = {"typescript": "index.ts", "python": "main.py"}
# The ledger records none of the requests: that is its own business.
OUTLAST = """
[ledger]
requests_per_s = 0
[functions.spinning.limits]
cpu_soft_ms = 100
cpu_hard_ms = 200
"""
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(language: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    project = assemble(tmp_path_factory.mktemp("site"), language, FUNCTIONS, outlast=OUTLAST)
    spinning = project / "supabase/functions/spinning" / ENTRYPOINTS[language]
    spinning.parent.mkdir()
    spinning.write_text(SPINNING[language])
    async with served(project, env=collector.environ) as site:
        yield site


async def test_the_callers_trace_goes_on_in_the_function(site: Served, collector: Collector, language: str) -> None:
    headers = {"traceparent": PARENT, "tracestate": "shop=cart,bank=42", "user-agent": "till/1"}
    response = await site.call("mirror/deep/down?card=1234", headers=headers)
    span = await collector.of_request(response.headers["sb-request-id"])
    seen = response.json()["headers"]
    assert (span.trace_id, span.parent_id, span.state) == (TRACE, CALLER, "shop=cart,bank=42")
    assert seen["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
    assert seen["tracestate"] == "shop=cart,bank=42"
    assert (span.name, span.kind, span.status) == ("GET /functions/v1/mirror", "server", "unset")
    host, port = site.node.address
    expected = {
        "http.request.method": "GET",
        "http.route": "/functions/v1/mirror",
        "http.response.status_code": 200,
        "url.path": "/functions/v1/mirror/deep/down",
        "url.scheme": "http",
        "server.address": host,
        "server.port": port,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "till/1",
        "faas.name": "mirror",
        "faas.trigger": "http",
        "faas.invocation_id": response.headers["sb-request-id"],
        "faas.instance": response.headers["x-sb-execution-id"],
        "faas.coldstart": True,
        "outlast.request_id": response.headers["sb-request-id"],
        "outlast.execution_id": response.headers["x-sb-execution-id"],
    }
    assert span.attributes.pop("outlast.wait_ms") > 0
    assert span.attributes == expected
    assert span.resource["service.name"] == "outlast"
    assert span.ended_ns > span.started_ns

    response = await site.call("mirror")
    warm = await collector.of_request(response.headers["sb-request-id"])
    assert warm.attributes["faas.coldstart"] is False
    assert "outlast.wait_ms" not in warm.attributes


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", PARENT.replace("b", "g"))],
        [("traceparent", PARENT.replace(TRACE, "0" * 32)), ("tracestate", "shop=cart")],
        [("traceparent", PARENT), ("traceparent", PARENT)],
        [("tracestate", "shop=cart")],
    ],
    ids=["none", "malformed", "zeroes", "two", "state alone"],
)
async def test_without_a_context_that_counts_a_trace_begins(
    site: Served, collector: Collector, headers: list[tuple[str, str]]
) -> None:
    response = await site.call("mirror", headers=headers)
    span = await collector.of_request(response.headers["sb-request-id"])
    assert span.trace_id != TRACE
    assert (span.parent_id, span.state) == ("", "")
    seen = response.json()["headers"]
    assert seen["traceparent"].startswith(f"00-{span.trace_id}-{span.span_id}-")
    assert "tracestate" not in seen


async def test_a_trace_that_the_caller_does_not_record_is_not_recorded(
    site: Served, collector: Collector, work: str
) -> None:
    response = await site.call(f"tasks/in-handler?work={work}", headers={"traceparent": PARENT[:-1] + "0"})
    (await site.gate.arrival(work)).let_go()
    await site.finished(response)
    mirrored = await site.call("mirror", headers={"traceparent": PARENT[:-1] + "0"})
    context = mirrored.json()["headers"]["traceparent"]
    assert context.startswith(f"00-{TRACE}-")
    assert context.endswith("-00")
    assert CALLER not in context
    # Spans are sent in the order in which they ended.
    last = await site.call("mirror")
    await collector.of_request(last.headers["sb-request-id"])
    for unrecorded in (response, mirrored):
        assert not collector.found(outlast__request_id=unrecorded.headers["sb-request-id"])


async def test_a_task_is_part_of_its_requests_trace(site: Served, collector: Collector, work: str) -> None:
    response = await site.call(f"tasks/in-handler?work={work}", headers={"traceparent": PARENT})
    request = await collector.of_request(response.headers["sb-request-id"])
    (await site.gate.arrival(work)).let_go()
    (logged,) = await site.finished(response)
    task = await collector.wait_for(f"task {work}")
    assert (task.trace_id, task.parent_id) == (TRACE, request.span_id)
    assert task.links == [(TRACE, request.span_id)]
    assert (task.kind, task.status) == ("internal", "unset")
    assert task.attributes == {
        "faas.name": "tasks",
        "faas.instance": response.headers["x-sb-execution-id"],
        "outlast.execution_id": response.headers["x-sb-execution-id"],
        "outlast.request_id": response.headers["sb-request-id"],
        "outlast.task_id": logged["task_id"],
        "outlast.task.name": work,
        "outlast.task.outcome": "fulfilled",
    }
    assert task.ended_ns > request.ended_ns


async def test_a_task_begun_when_all_else_had_ended(site: Served, collector: Collector, work: str) -> None:
    response = await site.call(f"tasks/after-response?work={work}")
    request = await collector.of_request(response.headers["sb-request-id"])
    (await site.gate.arrival(f"{work}-first")).let_go()
    (await site.gate.arrival(work)).let_go()
    task = await collector.wait_for(f"task {work}")
    assert (task.trace_id, task.parent_id) == (request.trace_id, request.span_id)


async def test_a_task_of_a_task(site: Served, collector: Collector, work: str) -> None:
    response = await site.call(f"tasks/nested?work={work}")
    request = await collector.of_request(response.headers["sb-request-id"])
    (await site.gate.arrival(f"{work}-outer")).let_go()
    (await site.gate.arrival(f"{work}-inner")).let_go()
    inner = await collector.wait_for(f"task {work}-inner")
    outer = await collector.wait_for(f"task {work}-outer")
    assert inner.parent_id == outer.parent_id == request.span_id


async def test_a_task_that_fails_says_with_what(site: Served, collector: Collector, work: str, language: str) -> None:
    response = await site.call(f"tasks/rejected?work={work}")
    (await site.gate.arrival(work)).let_go()
    (logged,) = await site.finished(response)
    task = await collector.wait_for(f"task {work}")
    kind = {"typescript": "Error", "python": "RuntimeError"}[language]
    assert (task.status, task.description) == ("error", f"{work} failed")
    assert task.attributes["outlast.task.outcome"] == "rejected"
    assert task.attributes["error.type"] == kind
    assert task.events == {
        "exception": {
            "exception.type": kind,
            "exception.message": f"{work} failed",
            "exception.stacktrace": logged["stack"],
        }
    }


async def test_a_task_that_takes_too_long(site: Served, collector: Collector, work: str) -> None:
    await site.call(f"tasks/timeout?work={work}")
    task = await collector.wait_for(f"task {work}")
    assert task.attributes["outlast.task.outcome"] == task.attributes["error.type"] == "timed_out"
    assert task.status == "error"


async def test_a_killed_worker_leaves_spans_of_all_that_it_had(site: Served, collector: Collector, work: str) -> None:
    first = await site.call(f"exiting/task?work={work}")
    await site.gate.arrival(work)
    waiting = asyncio.create_task(site.call(f"exiting/waits?work={work}-2"))
    await site.gate.arrival(f"{work}-2")
    os.kill(int(first.text), signal.SIGKILL)
    task = await collector.wait_for(f"task {work}")
    request = await collector.of_request(first.headers["sb-request-id"])
    assert (task.trace_id, task.parent_id) == (request.trace_id, request.span_id)
    assert (task.status, task.description) == ("error", "the worker's process crashed")
    assert task.attributes["outlast.task.outcome"] == "interrupted"
    assert task.attributes["outlast.task.reason"] == task.attributes["error.type"] == "crash"
    second = await waiting
    failed = await collector.of_request(second.headers["sb-request-id"])
    assert (second.status_code, failed.attributes["http.response.status_code"]) == (500, 500)
    assert failed.status == "error"
    assert failed.attributes["error.type"] == failed.attributes["outlast.failure"] == "WORKER_ERROR"


async def test_a_limit_that_ends_a_worker_is_named(site: Served, collector: Collector) -> None:
    response = await site.call("spinning")
    assert response.status_code == 546
    request = await collector.of_request(response.headers["sb-request-id"])
    assert (request.status, request.attributes["http.response.status_code"]) == ("error", 546)
    assert request.attributes["error.type"] == "WORKER_LIMIT"
    assert request.attributes["outlast.reason"] == "cpu"
    task = await collector.wait_for("task spun-over", outlast__request_id=response.headers["sb-request-id"])
    assert task.attributes["outlast.task.reason"] == "cpu"
    assert task.parent_id == request.span_id


async def test_a_caller_who_leaves(site: Served, collector: Collector, work: str) -> None:
    _, writer = await asyncio.open_connection(*site.node.address)
    writer.write(f"GET /exiting/waits?work={work} HTTP/1.1\r\nhost: x\r\ntraceparent: {PARENT}\r\n\r\n".encode())
    arrival = await site.gate.arrival(work)
    since = site.now
    writer.transport.abort()
    left = await site.node.wait_for("request", since=since, status=0)
    span = await collector.of_request(left["request_id"])
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["outlast.client_left"] is True
    assert (span.name, span.status) == ("GET /exiting", "unset")
    arrival.let_go()


async def test_what_never_comes_to_a_function(site: Served, collector: Collector) -> None:
    response = await site.call("nobody/knows", method="BREW", headers={"traceparent": PARENT})
    span = await collector.wait_for(outlast__request_id=response.headers["sb-request-id"])
    assert (span.name, span.parent_id, span.status) == ("HTTP", CALLER, "unset")
    assert span.attributes["http.response.status_code"] == 404
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"
    assert span.attributes["outlast.failure"] == "NOT_FOUND"
    assert not {"http.route", "faas.name"} & span.attributes.keys()


async def test_nothing_is_sent_twice(site: Served, collector: Collector) -> None:
    counts = Counter(span.span_id for span in collector.spans)
    assert [span_id for span_id, count in counts.items() if count > 1] == []
