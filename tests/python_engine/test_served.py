"""Python functions with packages of their own, and ends of all kinds, behind a node."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.python_engine.conftest import script
from tests.python_engine.pythons import OTHER
from tests.support.node import Node, serving, write_project

from outlast.engines.python.uv import UV

SERVES = """
from outlast import EdgeRuntime, Request, Response, serve
"""
HELLO = (
    SERVES
    + """
import os, sys
import greeting
from _shared.words import WORD

@serve
async def handler(request: Request) -> Response:
    said = greeting.TEXT + WORD
    return Response.json({"pid": os.getpid(), "parent": os.getppid(), "said": said, "env": dict(os.environ)})
"""
)
MANY = 1_500
"""Tasks that one turn of an event loop starts: more than there is room for where they are kept meanwhile."""
LEAVES = f"""
import asyncio, ctypes, os, signal
from outlast import EdgeRuntime

ENDS = {{
    "segfault": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}}

def leave(end: str) -> None:
    for number in range({MANY}):
        EdgeRuntime.wait_until(asyncio.Event().wait(), name=f"{{end}} {{number}}")
        if number == {MANY} // 2 and (child := os.fork()) == 0:
            print("a child", flush=True)
            os._exit(0)
    os.waitpid(child, 0)
    print(f"last words: {{end}}")
    ENDS[end]()
"""
VERSION = """
import httpx, starlette, sys
from _shared.leaving import leave

VERSIONS = {"httpx": httpx.__version__, "starlette": starlette.__version__, "python": sys.version_info[:2]}

@serve
async def handler(request: Request) -> Response:
    if (end := request.query_params.get("end")) is not None:
        leave(end)
    return Response.json(VERSIONS)
"""
FAILS = """
import traceback

try: 1 / 0
except ZeroDivisionError: traceback.print_exc()
"""
ENDS = (
    SERVES
    + """
import asyncio, ctypes, os, signal, subprocess, sys

ENDS = {
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(4),
    "segfault": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

async def forever() -> None:
    await asyncio.Event().wait()

@serve
async def handler(request: Request) -> Response:
    if (end := request.query_params.get("end")) is not None:
        EdgeRuntime.wait_until(forever(), name=end)
        ENDS[end]()
    return Response("still here")
"""
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    functions: Mapping[str, str] = {
        "hello/main.py": HELLO,
        "hello/greeting.py": "TEXT = 'hello '",
        "_shared/words.py": "WORD = 'world'",
        "other/main.py": HELLO.replace("from _shared.words import WORD", "WORD = ''"),
        "other/greeting.py": "TEXT = 'other'",
        "_shared/leaving.py": LEAVES,
        "older/main.py": script("httpx==0.27.*") + SERVES + VERSION,
        "newer/main.py": script("httpx==0.28.*", "outlast") + SERVES + VERSION,
        "conflicting/main.py": SERVES + VERSION,
        "conflicting/requirements.txt": "starlette==0.48.0\nhttpx==0.28.*\n",
        "impossible/main.py": script("httpx==0.28.*", "httpx==0.27.*") + HELLO,
        "future/main.py": script(python=">=3.99") + HELLO,
        "ends/main.py": ENDS,
    }
    environment = {}
    if OTHER is not None:
        version, folder = OTHER
        functions = {
            **functions,
            "another/main.py": script("httpx==0.28.*", python=f"=={version}.*") + SERVES + VERSION + FAILS,
            "another_locked/main.py": script("httpx==0.28.*", python=f"=={version}.*") + SERVES + VERSION,
        }
        environment["PATH"] = f"{folder}:{os.environ['PATH']}"
    project = write_project(
        tmp_path_factory.mktemp("served"), functions, outlast="[functions.hello.scale]\nstandby = 0\nmax_workers = 1\n"
    )
    # As in many a repository: uv reads it for settings of its own, whatever asks for packages below it.
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'shop'\nversion = '1'\n[tool.uv]\ncompile-bytecode = true\n"
    )
    (project.parent / "uv.toml").write_text("")
    if OTHER is not None:
        locked = project / "supabase" / "functions" / "another_locked" / "main.py"
        lock = [UV, "lock", "--quiet", f"--script={locked}", "--upgrade-package=httpx==0.28.0"]
        await asyncio.to_thread(subprocess.run, lock, env={**os.environ, **environment}, check=True)
    async with serving(project, env=environment) as node:
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{node.url}/functions/v1", timeout=30) as client:
        yield client


async def installed(node: Node, *functions: str) -> None:
    """Requests wait no longer than for a worker, and a registry may be slow."""
    for function in functions:
        await node.wait_for("prepare", function=function, msg=lambda text: text.startswith("installed"), timeout=50)


async def test_a_function_has_its_own_modules_and_the_shared_ones(node: Node, client: httpx.AsyncClient) -> None:
    hello, other = (await client.get("/hello")).json(), (await client.get("/other")).json()
    assert (hello["said"], other["said"]) == ("hello world", "other")
    assert hello["pid"] != other["pid"]
    # Both are forks of one process.
    assert hello["parent"] == other["parent"] != node.process.pid
    assert set(hello["env"]) == {
        *("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SB_EXECUTION_ID", "TMPDIR"),
        "SUPABASE_FUNCTION_SLUG",
        *("SUPABASE_PUBLISHABLE_KEYS", "SUPABASE_SECRET_KEYS", "SUPABASE_JWKS"),
    }


async def test_two_versions_of_a_package_side_by_side(node: Node, client: httpx.AsyncClient) -> None:
    await installed(node, "older", "newer")
    older, newer = (await client.get("/older")).json(), (await client.get("/newer")).json()
    assert older["httpx"].startswith("0.27.")
    assert newer["httpx"].startswith("0.28.")
    # They are forks: what they do not ask for is the zygote's.
    assert older["starlette"] == newer["starlette"] != "0.48.0"
    for function in ("older", "newer"):
        assert not node.found("prepare", function=function, msg=lambda text: "interpreter" in text)


async def test_what_the_zygote_has_in_another_version_makes_a_new_interpreter(
    node: Node, client: httpx.AsyncClient
) -> None:
    await installed(node, "conflicting")
    versions = (await client.get("/conflicting")).json()
    assert versions["starlette"] == "0.48.0"
    said = node.found("prepare", function="conflicting", msg=lambda text: "starts a new interpreter" in text)
    assert len(said) == 1
    assert "it needs " in said[0]["msg"]
    assert "starlette 0.48.0 (not " in said[0]["msg"]


@pytest.mark.skipif(OTHER is None, reason="there is no other Python on this machine")
async def test_another_python(node: Node, client: httpx.AsyncClient) -> None:
    assert OTHER is not None
    await installed(node, "another")
    response = await client.get("/another")
    assert response.status_code == 200, node.log_text()
    assert ".".join(map(str, response.json()["python"])) == OTHER[0]
    assert node.found("prepare", function="another", msg=lambda text: f"it runs on Python {OTHER[0]}" in text)
    printed = await node.wait_for("log", function="another")
    assert printed["msg"].startswith("Traceback")
    assert printed["msg"].endswith("\nZeroDivisionError: division by zero")


@pytest.mark.skipif(OTHER is None, reason="there is no other Python on this machine")
async def test_another_python_with_a_lock_file(node: Node, client: httpx.AsyncClient) -> None:
    assert OTHER is not None
    await installed(node, "another_locked")
    versions = (await client.get("/another_locked")).json()
    assert ".".join(map(str, versions["python"])) == OTHER[0]
    # Outlast's own requirements are met beside it.
    assert versions["httpx"] == "0.28.0"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("impossible", "what it asks for cannot be installed:\n"),
        ("future", "requires Python >=3.99, and this is "),
    ],
)
async def test_what_cannot_be_had_is_a_boot_error(
    node: Node, client: httpx.AsyncClient, function: str, said: str
) -> None:
    response = await client.get(f"/{function}")
    assert (response.status_code, response.json()["code"]) == (503, "BOOT_ERROR")
    failure = await node.wait_for("boot_failure", function=function)
    assert said in failure["msg"]


async def test_it_comes_back_when_it_is_mended(node: Node, client: httpx.AsyncClient) -> None:
    main = node.project / "supabase" / "functions" / "impossible" / "main.py"
    main.write_text(script("httpx==0.28.*") + SERVES + VERSION)
    await installed(node, "impossible")
    response = await client.get("/impossible")
    assert response.json()["httpx"].startswith("0.28.")


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit", "exit code 3"), ("os._exit", "exit code 4"), ("segfault", "signal 11"), ("killed", "signal 9")],
)
async def test_a_worker_that_ends_itself_ends_alone(node: Node, client: httpx.AsyncClient, end: str, code: str) -> None:
    before = (await client.get("/hello")).json()["pid"]
    response = await client.get("/ends", params={"end": end})
    assert (response.status_code, response.json()["code"]) == (500, "WORKER_ERROR")
    task = await node.wait_for("task", function="ends", name=end)
    assert task["outcome"] == "interrupted"
    shutdown = await node.wait_for("shutdown", execution_id=task["execution_id"])
    assert code in shutdown["msg"]
    assert shutdown["level"] == "error"
    assert (await client.get("/ends")).text == "still here"
    assert (await client.get("/hello")).json()["pid"] == before


@pytest.mark.parametrize(("function", "end"), [("newer", "killed"), ("newer", "segfault"), ("conflicting", "killed")])
async def test_what_was_said_is_known_once_however_soon_the_end_came(
    node: Node, client: httpx.AsyncClient, function: str, end: str
) -> None:
    await installed(node, function)
    response = await client.get(f"/{function}", params={"end": end})
    assert response.json()["code"] == "WORKER_ERROR"
    life = response.headers["x-sb-execution-id"]
    assert (await node.wait_for("shutdown", execution_id=life))["reason"] == "crash"
    tasks = node.found("task", execution_id=life)
    assert [task["name"] for task in tasks] == [f"{end} {number}" for number in range(MANY)]
    assert {(task["outcome"], task["reason"]) for task in tasks} == {("interrupted", "crash")}
    printed = [line["msg"] for line in node.found("log", execution_id=life, level="info")]
    assert sorted(printed) == ["a child", f"last words: {end}"]


async def test_a_change_of_what_is_shared_concerns_who_imports_it(node: Node, client: httpx.AsyncClient) -> None:
    before = [(await client.get(path)).json() for path in ("/hello", "/other")]
    since = len(node.events)
    (node.project / "supabase" / "functions" / "_shared" / "words.py").write_text("WORD = 'moon'")
    await node.wait_for("retire", function="hello", reason="reload", since=since)
    after = [(await client.get(path)).json() for path in ("/hello", "/other")]
    assert after[0]["said"] == "hello moon"
    assert after[1]["pid"] == before[1]["pid"]
    assert not node.found("retire", since, function="other")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end with it")
async def test_the_zygote_s_death_is_noticed_by_nobody(node: Node, client: httpx.AsyncClient) -> None:
    before = (await client.get("/hello")).json()
    since = len(node.events)
    os.kill(before["parent"], signal.SIGKILL)
    # It is gone when the kernel has given its child another parent.
    async with asyncio.timeout(20):
        while (now := (await client.get("/hello")).json())["parent"] == before["parent"]:
            pass
    assert now["pid"] == before["pid"]
    assert not node.found("shutdown", since)

    # A worker that is asked for now is a new zygote's, and the end of an old one is seen all the same.
    os.kill(before["pid"], signal.SIGKILL)
    shutdown = await node.wait_for("shutdown", function="hello", since=since)
    assert shutdown["reason"] == "crash"
    assert "exit code unknown" in shutdown["msg"]
    again: dict[str, Any] = (await client.get("/hello")).json()
    assert again["pid"] != before["pid"]
    assert again["parent"] not in (before["parent"], now["parent"])


OVERTAKEN = (
    SERVES
    + """
import asyncio
from pathlib import Path

def wait(name: str) -> None:
    with Path(__file__).with_name(name).open() as fifo:
        fifo.readline()

async def task() -> None:
    await asyncio.sleep(0)
    print("goes on")
    await asyncio.to_thread(wait, "task")

@serve
async def handler(request: Request) -> Response:
    asyncio.get_running_loop().call_soon(wait, "loop")
    # What is said first after a pause is sent at once, line by line.
    for number in range(8):
        print(number)
    EdgeRuntime.wait_until(task())
    return Response("ok")
"""
)


async def test_a_response_may_overtake_the_start_of_a_task(tmp_path: Path) -> None:
    # Retired from the beginning, the worker ends as soon as the node takes it to have nothing to do.
    outlast = 'oneshot_background = "wait"\n[scale]\nstandby = 0\n'
    project = write_project(tmp_path, {"overtaken/main.py": OVERTAKEN}, outlast=outlast)
    with contextlib.ExitStack() as stack:
        fifos = {}
        for name in ("loop", "task"):
            path = project / "supabase/functions/overtaken" / name
            os.mkfifo(path)
            fifos[name] = os.open(path, os.O_RDWR)
            stack.callback(os.close, fifos[name])
        async with serving(project, "--policy=oneshot", "--no-verify-jwt") as node:
            async with httpx.AsyncClient(base_url=node.url, timeout=30) as client:
                answer = await client.get("/functions/v1/overtaken")
            assert answer.text == "ok"
            os.write(fifos["loop"], b"\n")
            await node.wait_for("log", msg="goes on")
            assert node.found("beforeunload") == []
            os.write(fifos["task"], b"\n")
            task = await node.wait_for("task", request_id=answer.headers["sb-request-id"])
            assert task["outcome"] == "fulfilled"
