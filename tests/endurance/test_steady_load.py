"""Workers come to their end and others take their place, while requests keep coming: nobody notices."""

import asyncio
from pathlib import Path

import pytest
from tests.support.calling import Answer, calling
from tests.support.node import Node, serving, write_project

EXPIRIES = 10
RATE = 25
"""Requests a second, of each function."""
PATIENCE_S = 45

TYPESCRIPT = """
async function work(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
Deno.serve(() => {
  EdgeRuntime.waitUntil(work(), { name: "work" });
  const until = performance.now() + BURNED_MS;
  while (performance.now() < until);
  return new Response("ok");
});
"""
PYTHON = """
import asyncio
import time

from outlast import EdgeRuntime, Request, Response, serve

@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.sleep(0.020), name="work")
    until = time.perf_counter() + BURNED_MS / 1000
    while time.perf_counter() < until:
        pass
    return Response("ok")
"""

AGEING = {"ageing-ts": TYPESCRIPT, "ageing-py/main.py": PYTHON}
COMPUTING = {"computing-ts": TYPESCRIPT, "computing-py/main.py": PYTHON}
SOURCES = {
    **{name: source.replace("BURNED_MS", "0") for name, source in AGEING.items()},
    **{name: source.replace("BURNED_MS", "8") for name, source in COMPUTING.items()},
}
LIMITS = """
[functions.ageing-ts.limits]
wall_clock_ms = 2_000 # a worker is replaced after half of it
[functions.ageing-py.limits]
wall_clock_ms = 2_000
[functions.computing-ts.limits]
cpu_soft_ms = 150
cpu_hard_ms = 10_000
[functions.computing-py.limits]
cpu_soft_ms = 150
cpu_hard_ms = 10_000
"""
CAUSES = {"ageing-ts": "wall_clock", "ageing-py": "wall_clock", "computing-ts": "cpu", "computing-py": "cpu"}


@pytest.mark.timeout(120)  # ten expiries take ten seconds at least
async def test_no_request_and_no_task_notices_that_workers_are_replaced(tmp_path: Path) -> None:
    async with serving(write_project(tmp_path, SOURCES, outlast=LIMITS)) as node:
        answers = dict(zip(CAUSES, await asyncio.gather(*(_ask(node, name) for name in CAUSES)), strict=True))
        for name, cause in CAUSES.items():
            answered = answers[name]
            assert [answer for answer in answered if answer.status != 200] == []
            await node.wait_for("task", count=len(answered), function=name)
            outcomes = [entry["outcome"] for entry in node.found("task", function=name)]
            assert outcomes == ["fulfilled"] * len(answered)
            retired = node.found("retire", function=name, reason=cause)
            assert len(retired) >= EXPIRIES, node.log_text()
            for entry in retired:
                await node.wait_for("shutdown", execution_id=entry["execution_id"])
            assert {entry["reason"] for entry in node.found("shutdown", function=name)} == {"early_drop"}


async def _ask(node: Node, name: str) -> list[Answer]:
    """Until enough workers have come to their end."""
    news = len(node.events)
    retired = 0

    def is_over(moment: float) -> bool:
        nonlocal news, retired
        retired += len(node.found("retire", since=news, function=name))
        news = len(node.events)
        return retired >= EXPIRIES or moment > PATIENCE_S

    async with calling(f"{node.url}/functions/v1/{name}") as caller:
        return await caller.run(RATE, is_over)
