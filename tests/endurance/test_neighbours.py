"""Functions that take what they can get, and two beside them that notice nothing of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import pytest_asyncio
from tests.endurance.processes import memory_mb
from tests.support.calling import Answer, calling
from tests.support.node import Node, serving, write_project

RATE = 20
"""Requests a second, of each of the quiet ones."""
MEMORY_MB = 128
CPU_MS = 1_000
NODE_MAY_GROW_MB = 32
OUT_OF_FILES_IN_DENO = "Deno has panicked"
"""It needs a file to look at its own stack, with which it begins when it throws."""

QUIET_TS = """
Deno.serve(() => {
  EdgeRuntime.waitUntil(new Promise((resolve) => setTimeout(resolve, 20)), { name: "quiet" });
  return new Response("ok");
});
"""
QUIET_PY = """
import asyncio
from outlast import EdgeRuntime, Request, Response, serve

@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.sleep(0.020), name="quiet")
    return Response("ok")
"""
QUIET = {"quiet-ts": QUIET_TS, "quiet-py/main.py": QUIET_PY}

IN_TYPESCRIPT = "Deno.serve(() => {{ {} }});"
IN_PYTHON = """
import mmap, os, subprocess, sys, time
from outlast import Request, Response, serve

kept = []
MIB = 2**20

@serve
async def handler(_: Request) -> Response:
    while True:
        {}
"""
GREEDY = {
    "loop-ts": IN_TYPESCRIPT.format("while (true);"),
    "loop-py/main.py": IN_PYTHON.format("pass"),
    "heap-ts": IN_TYPESCRIPT.format("const kept = []; while (true) kept.push({ n: kept.length });"),
    "arrays-ts": IN_TYPESCRIPT.format("const kept = []; while (true) kept.push(new Uint8Array(2 ** 20).fill(1));"),
    "bytes-py/main.py": IN_PYTHON.format("kept.append(b'x' * MIB)"),
    "mmap-py/main.py": IN_PYTHON.format("kept.append(mmap.mmap(-1, MIB)); kept[-1].write(b'x' * MIB)"),
    "forks-py/main.py": IN_PYTHON.format("os.fork()"),
    "children-py/main.py": IN_PYTHON.format("kept.append(subprocess.Popen(['/bin/sleep', '600']))"),
    "files-ts": IN_TYPESCRIPT.format(
        "const kept = []; while (true) kept.push(Deno.openSync(new URL(import.meta.url)));"
    ),
    "files-py/main.py": IN_PYTHON.format("kept.append(open('/dev/null'))"),
}
LOGGING = {
    "logging-ts": """
const line = "x".repeat(2 ** 14);
Deno.serve(async () => {
  for (let bytes = 0; true; bytes += line.length) {
    console.log(line);
    if (bytes % 2 ** 20 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
});
""",
    "logging-py/main.py": """
from outlast import Request, Response, serve

LINE = "x" * 2**14

@serve
async def handler(_: Request) -> Response:
    while True:
        print(LINE)
""",
}
LIMITS = f"""
[limits]
memory_mb = {MEMORY_MB}
cpu_soft_ms = {CPU_MS // 2}
cpu_hard_ms = {CPU_MS}
"""


def _is_flood(line: bytes) -> bool:
    return b'"event":"log","function":"logging-' in line[:200]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    project = write_project(tmp_path_factory.mktemp("project"), {**QUIET, **GREEDY, **LOGGING}, outlast=LIMITS)
    async with serving(project, drop=_is_flood) as node:
        yield node


@asynccontextmanager
async def undisturbed(node: Node) -> AsyncIterator[None]:
    """The quiet functions are called throughout, and each request and each task of them comes to a good end."""
    is_over = False
    names = [name.partition("/")[0] for name in QUIET]
    begun = {name: len(node.found("task", function=name)) for name in names}

    async def call(name: str) -> list[Answer]:
        async with calling(f"{node.url}/functions/v1/{name}") as caller:
            return await caller.run(RATE, lambda _: is_over)

    async with asyncio.TaskGroup() as group:
        calls = {name: group.create_task(call(name)) for name in names}
        try:
            yield
        finally:
            is_over = True
    for name, answers in calls.items():
        assert [answer for answer in answers.result() if (answer.status, answer.text) != (200, "ok")] == []
        count = begun[name] + len(answers.result())
        await node.wait_for("task", count=count, function=name, outcome="fulfilled")
        assert len(node.found("task", function=name)) == count


@contextmanager
def within_memory(node: Node) -> Iterator[None]:
    before_mb = memory_mb(node.process.pid)
    yield
    assert memory_mb(node.process.pid) - before_mb < NODE_MAY_GROW_MB


async def call(node: Node, name: str) -> Answer:
    async with calling(f"{node.url}/functions/v1/{name}") as caller:
        return await caller.ask()


async def assert_ended(node: Node, name: str, reason: str, limit: int) -> None:
    """Its caller and the log hear which limit it was."""
    answer = await call(node, name)
    assert answer.status == 546, (name, answer)
    body = json.loads(answer.text)
    assert (body["reason"], body["limit"]) == (reason, limit), (name, body)
    end = await node.wait_for("shutdown", function=name)
    assert (end["execution_id"], end["reason"]) == (body["execution_id"], reason)


async def assert_out_of_files(node: Node, name: str, error: str) -> None:
    """What the kernel refuses is an error of the function's own."""
    answer = await call(node, name)
    assert answer.status == 500, (name, answer)
    await node.wait_for("log", function=name, level="error", msg=lambda text: error in text)


async def test_each_that_takes_too_much_is_ended_for_that(node: Node) -> None:
    with within_memory(node):
        async with undisturbed(node), asyncio.TaskGroup() as group:
            for name in ("loop-ts", "loop-py"):
                group.create_task(assert_ended(node, name, "cpu", CPU_MS))
            for name in ("heap-ts", "arrays-ts", "bytes-py", "mmap-py", "forks-py", "children-py"):
                group.create_task(assert_ended(node, name, "memory", MEMORY_MB))
            group.create_task(assert_out_of_files(node, "files-ts", OUT_OF_FILES_IN_DENO))
            group.create_task(assert_out_of_files(node, "files-py", "Too many open files"))


async def test_one_that_logs_without_end_is_slowed_down_and_then_ended(node: Node) -> None:
    with within_memory(node):
        async with undisturbed(node), asyncio.TaskGroup() as group:
            # Its console never blocks: what the node has not read yet is in its own memory.
            group.create_task(assert_ended(node, "logging-ts", "memory", MEMORY_MB))
            # Printing does, here, and takes time to compute.
            group.create_task(assert_ended(node, "logging-py", "cpu", CPU_MS))
    assert node.dropped_bytes > 0
