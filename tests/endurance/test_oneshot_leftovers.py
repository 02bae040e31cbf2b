"""A thousand workers, each for one request: nothing of them is left in the node, and nothing beside it."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest
from tests.endurance.processes import descendants, memory_mb
from tests.support.calling import calling
from tests.support.node import Node, serving, write_project
from watchfiles import awatch

WARM_UP = {"py": 200, "ts": 5}
"""The node remembers the latest events and records, which is most of what it grows by at first."""
REQUESTS = {"py": 980, "ts": 20}
AT_ONCE = {"py": 6, "ts": 2}
MAY_GROW_MB = 5

SOURCES = {
    "py/main.py": """
import asyncio

from outlast import EdgeRuntime, Request, Response, serve

@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.sleep(0), name="work")
    print("here")
    return Response("ok")
""",
    "ts": """
Deno.serve(() => {
  EdgeRuntime.waitUntil(Promise.resolve(), { name: "work" });
  console.log("here");
  return new Response("ok");
});
""",
}
CONFIG = """
[edge_runtime]
policy = "oneshot"
"""
NONE_ON_STANDBY = """
[scale]
standby = 0
"""


@pytest.mark.timeout(240)  # some 30 s of CPU time
async def test_of_a_thousand_oneshot_workers_nothing_is_left(tmp_path: Path) -> None:
    async with serving(write_project(tmp_path, SOURCES, config=CONFIG, outlast=NONE_ON_STANDBY)) as node:
        await _ask(node, WARM_UP)
        processes, belongings = {*descendants(node.process.pid)}, _belongings(node)
        memory_before_mb = memory_mb(node.process.pid)
        await _ask(node, REQUESTS)
        assert _belongings(node) == belongings
        # The bare process that the next Python worker will be made of is another one each time.
        assert len({*descendants(node.process.pid)} - processes) <= 1
        assert memory_mb(node.process.pid) - memory_before_mb <= MAY_GROW_MB
        # All of them lived and ended as they should.
        shutdowns = node.found("shutdown")
        unlike = [entry["execution_id"] for entry in shutdowns if entry["reason"] != "oneshot"]
        assert not unlike, "\n".join(str(entry) for entry in node.events if entry.get("execution_id") in unlike)
        assert len(shutdowns) == sum(WARM_UP.values()) + sum(REQUESTS.values())


async def _ask(node: Node, requests: dict[str, int]) -> None:
    """Returns when the workers of these requests are gone."""
    ended = len(node.found("shutdown"))

    async def ask(name: str, count: int) -> None:
        async with calling(f"{node.url}/functions/v1/{name}") as caller:
            for _ in range(count):
                answer = await caller.ask()
                assert (answer.status, answer.text) == (200, "ok")

    async with asyncio.TaskGroup() as group:
        for name, count in requests.items():
            for number in range(AT_ONCE[name]):
                group.create_task(ask(name, len(range(number, count, AT_ONCE[name]))))
    await node.wait_for("shutdown", count=ended + sum(requests.values()))
    run_dir = _run_dir(node)
    # The folder of a worker is removed after the log has told of its end.
    async for _ in awatch(run_dir, step=20, rust_timeout=200, yield_on_timeout=True):
        if not any(run_dir.iterdir()):
            break


def _run_dir(node: Node) -> Path:
    """The node holds it open, to keep its lock."""
    return next(link for link in _files(node) if link.name.startswith("outlast-node-"))


def _files(node: Node) -> list[Path]:
    found = []
    for entry in Path(f"/proc/{node.process.pid}/fd").iterdir():
        # It may have been closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append(entry.readlink())
    return found


def _belongings(node: Node) -> object:
    """What a worker could leave behind besides processes: files and sockets of the node's, sockets in its folder."""
    run_dir = _run_dir(node)
    return (
        Counter(str(link).partition(":")[0] for link in _files(node)),
        [line for line in Path("/proc/net/unix").read_text().splitlines() if str(run_dir) in line],
        [*run_dir.iterdir()],
    )
