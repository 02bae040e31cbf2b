"""A function that prints too much: what is left out is counted to the line, and nobody else notices."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from tests.support.admin import admin
from tests.support.node import Node, serving, write_project

BURST = 20
FLOOD = 20_000
"""Lines that one pipe and the node's patience do not hold: as JSON they are 4 MB."""

TYPESCRIPT = """
Deno.serve(async (request) => {
  const count = Number(new URL(request.url).searchParams.get("lines"));
  for (let n = 0; n < count; n++) {
    console.log(`line ${n}`);
    console.debug("not even looked at");
    if (n % 500 === 499) await new Promise((done) => setTimeout(done));
  }
  EdgeRuntime.waitUntil(Promise.reject(new Error("said in any case")), { name: "failing" });
  return new Response("printed");
});
"""
PYTHON = """
import asyncio, logging
from outlast import EdgeRuntime, Request, Response, serve

async def fail() -> None:
    raise ValueError("said in any case")

@serve
async def handler(request: Request) -> Response:
    for n in range(int(request.query_params["lines"])):
        print(f"line {n}")
        if n % 500 == 499:
            await asyncio.sleep(0)
    EdgeRuntime.wait_until(fail(), name="failing")
    return Response("printed")
"""
LIMITS = f"""
[log]
lines_per_s = 1
burst_lines = {BURST}
[functions.flood.log]
burst_lines = {FLOOD * 3 // 4}
[functions.free.log]
lines_per_s = 0
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    functions = {
        "chatty-ts": TYPESCRIPT,
        "chatty-py/main.py": PYTHON,
        "flood": TYPESCRIPT.replace("console.debug", "//"),
        "free": TYPESCRIPT,
        "freed": TYPESCRIPT,
    }
    async with serving(write_project(tmp_path_factory.mktemp("printing"), functions, outlast=LIMITS)) as served:
        yield served


async def print_lines(node: Node, function: str, count: int) -> None:
    async with httpx.AsyncClient(base_url=f"{node.url}/functions/v1", timeout=30) as client:
        assert (await client.get(f"/{function}", params={"lines": str(count)})).text == "printed"


async def all_accounted_for(node: Node, function: str, count: int) -> tuple[int, int]:
    """Waits until each of ``count`` lines has been logged or counted. Returns how many of each."""

    def sums() -> tuple[int, int]:
        logged = node.found("log", function=function, msg=lambda text: text.startswith("line "))
        return len(logged), sum(event["lines"] for event in node.found("log_suppressed", function=function))

    while sum(sums()) < count:
        await node.wait_for(function=function, since=len(node.events))
    assert sum(sums()) == count
    return sums()


@pytest.mark.parametrize("function", ["chatty-ts", "chatty-py"])
async def test_every_line_is_logged_or_counted(node: Node, function: str) -> None:
    await print_lines(node, function, 500)
    logged, suppressed = await all_accounted_for(node, function, 500)
    assert BURST <= logged < 2 * BURST
    told = node.found("log_suppressed", function=function)[0]
    assert told["level"] == "warning"
    assert f"[functions.{function}.log] lines_per_s" in told["msg"]
    # The first ones are logged: those that tell how it began.
    assert [event["msg"] for event in node.found("log", function=function, level="info")][:BURST] == [
        f"line {number}" for number in range(BURST)
    ]
    assert told["ts"] > told["since"] >= node.found("boot", function=function)[0]["ts"]
    # What the node itself has to say is never left out.
    await node.wait_for("task", function=function, outcome="rejected")
    async with admin(node) as api:
        metrics = (await api.get("/metrics")).text
    assert f'outlast_log_lines_suppressed_total{{function="{function}"}} {suppressed:.1f}' in metrics


async def test_nothing_is_left_out_without_a_limit(node: Node) -> None:
    await print_lines(node, "free", 1_000)
    assert await all_accounted_for(node, "free", 1_000) == (1_000, 0)


async def test_limits_given_at_run_time_win_over_the_file(node: Node) -> None:
    given = {"log": {"burst_lines": 30}, "functions": {"freed": {"log": {"lines_per_s": 0}}}}
    async with admin(node) as api:
        try:
            assert (await api.put("/v1/settings", json=given)).json() == given
            assert (await api.get("/v1/settings")).json() == given
            await print_lines(node, "freed", 1_000)
            assert await all_accounted_for(node, "freed", 1_000) == (1_000, 0)
        finally:
            assert (await api.put("/v1/settings", json={})).json() == {}


async def test_to_be_held_back_and_to_be_left_out_go_together(node: Node) -> None:
    transport = node.process.stdout._transport  # type: ignore[union-attr]
    transport.pause_reading()
    try:
        await print_lines(node, "flood", FLOOD)
    finally:
        transport.resume_reading()
    logged, suppressed = await all_accounted_for(node, "flood", FLOOD)
    assert logged >= FLOOD * 3 // 4
    assert suppressed > 0
    assert not node.found("log_lost")


async def test_what_was_left_out_last_is_told_before_the_end(node: Node) -> None:
    before = sum(event["lines"] for event in node.found("log_suppressed", function="chatty-ts"))
    await print_lines(node, "chatty-ts", 100)
    await node.stop()
    logged = len(node.found("log", function="chatty-ts", msg=lambda text: text.startswith("line ")))
    suppressed = sum(event["lines"] for event in node.found("log_suppressed", function="chatty-ts"))
    assert logged + suppressed == 600
    assert suppressed > before
