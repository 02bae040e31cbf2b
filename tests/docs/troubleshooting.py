"""Has background tasks end in every way there is, and asks `outlast tasks` what became of them.

``python -m tests.docs.troubleshooting --write`` puts what it prints into docs/troubleshooting.md, where that says
something else now.
"""

import argparse
import asyncio
import contextlib
import re
import signal
import tempfile
from pathlib import Path

import httpx
from click.testing import CliRunner
from tests.support import postgres
from tests.support.admin import admin_url, token
from tests.support.node import Event, Node, serving, write_project

from outlast.cli.main import outlast

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
_BLOCK = re.compile(r"^```console\n(\$ [^\n]*\n.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE_S = 60
_SHOWN_AT = "/home/ada/shop"
LISTING = "outlast tasks --outcome interrupted"

_TYPESCRIPT = """
const forever = new Promise((done) => setTimeout(done, 600_000));
{}
"""
_PYTHON = """
import asyncio
from outlast import EdgeRuntime, Request, Response, add_event_listener, serve

{}

@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(work(), name="{}")
    return Response("accepted", status=202)
"""
_ACCEPTS = """
Deno.serve(() => {{
  EdgeRuntime.waitUntil(work(), {});
  return new Response("accepted", {{ status: 202 }});
}});
"""


def _typescript(name: str, work: str, options: str = "") -> str:
    return _TYPESCRIPT.format(work + _ACCEPTS.format(f'{{ name: "{name}"{options} }}'))


FUNCTIONS = {
    "invoice": _typescript("make-invoice", 'async function work() { console.log("invoice 4711 is made"); }'),
    "mail/main.py": _PYTHON.format(
        """
def connect(host: str) -> None:
    raise ConnectionError(f"no mail server at {host}")

async def work() -> None:
    connect("mail.example.com")
""",
        "send-mail",
    ),
    "mirror": _typescript(
        "mirror", 'async function work() { console.log("fetching"); await forever; }', ", timeout: 300"
    ),
    "export/main.py": _PYTHON.format(
        """
async def work() -> None:
    print("waiting for a lock")
    await asyncio.sleep(600)
""",
        "nightly-export",
    ),
    "resize/main.py": _PYTHON.format(
        """
async def work() -> None:
    print("the first of 200 images")
    while True:
        await asyncio.sleep(0)
""",
        "thumbnails",
    ),
    "search": _typescript(
        "build-index",
        """
const index: Uint8Array[] = [];
async function work() {
  console.log("reading 100,000 products");
  for (;;) {
    index.push(new Uint8Array(2 ** 20).fill(1));
    await new Promise((done) => setTimeout(done, 8));
  }
}
""",
    ),
    "predict/main.py": _PYTHON.format(
        """
import os, signal

async def work() -> None:
    print("loading model.bin")
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)  # what the system does that has no memory left
""",
        "load-model",
    ),
    "sync": _typescript(
        "sync-stock",
        """
async function work() {
  await new Promise((done) => setTimeout(done, 50));
  console.error("SHOP_API_KEY is not set");
  Deno.exit(1);
}
""",
    ),
    "visits": """
addEventListener("beforeunload", () => {
  console.log("saving 12 visits");
  EdgeRuntime.waitUntil(new Promise((done) => setTimeout(done, 600_000)), { name: "save-visits" });
});
Deno.serve(() => new Response("counted"));
""",
    "cart/main.py": """
import asyncio
from outlast import EdgeRuntime, Request, Response, add_event_listener, serve

@add_event_listener("beforeunload")
def save(_: object) -> None:
    EdgeRuntime.wait_until(asyncio.sleep(600), name="save-carts")

@serve
async def handler(_: Request) -> Response:
    return Response("added")
""",
    "chat": """
addEventListener("beforeunload", () => {
  EdgeRuntime.waitUntil(new Promise((done) => setTimeout(done, 600_000)), { name: "save-history" });
});
Deno.serve(() => {
  setTimeout(() => { throw new Error("the socket is closed"); });
  return new Response("sent");
});
""",
    "prices": """
EdgeRuntime.waitUntil(new Promise((done) => setTimeout(done, 600_000)), { name: "load-prices" });
throw new Error("PRICES_URL is not set");
""",
    "daemon/main.py": _PYTHON.format(
        """
import os, socket

async def work() -> None:
    await asyncio.sleep(0.05)
    for descriptor in range(3, 64):  # one of them is not its own
        try:
            there = socket.socket(fileno=os.dup(descriptor))
            if str(there.getpeername()).endswith("control.sock"):
                there.send(b"hello\\n")
        except OSError:
            pass
    await asyncio.sleep(600)
""",
        "daemonize",
    ),
    "feed": _typescript("follow-feed", 'async function work() { console.log("connected"); await forever; }'),
}
_OUTLAST_TOML = """
[scale]
standby = 0
[functions.export.limits]
wall_clock_ms = 1_500
[functions.resize.limits]
cpu_soft_ms = 400
cpu_hard_ms = 1_000
[functions.search.limits]
memory_mb = 128
[functions.visits.limits]
unload_grace_ms = 300
[functions.cart.limits]
idle_timeout_ms = 200
unload_grace_ms = 300
[functions.chat.limits]
unload_grace_ms = 300
"""
_STILL_OPEN = "feed"
_WITHOUT_ANSWER = {"prices"}


class Told:
    """What the commands have printed: by the outcome that it tells of, or by the command."""

    def __init__(self, project: Path) -> None:
        self.blocks: dict[str, str] = {}
        self._project = project

    def ask(self, node: Node, *arguments: str) -> None:
        env = {"OUTLAST_ADMIN_URL": admin_url(node), "OUTLAST_ADMIN_TOKEN": token(node)}
        result = CliRunner().invoke(outlast, arguments, env=env, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        command = " ".join(["outlast", *arguments])
        lines = [line.rstrip() for line in result.stdout.replace(str(self._project), _SHOWN_AT).splitlines()]
        block = "\n".join([f"$ {command}", *lines]) + "\n"
        self.blocks[key(block)] = block

    def show(self, node: Node, task: Event) -> None:
        self.ask(node, "tasks", "show", task["task_id"])


def blocks(page: str) -> dict[str, str]:
    return {key(block): block for block in _BLOCK.findall(page)}


def key(block: str) -> str:
    command, first, *_ = block.removeprefix("$ ").splitlines()
    found = re.match(r"[\w-]+: (open|\w[\w ]*?(?: \(\w+\))?)(?: (?:after|for) .*)?$", first)
    return found[1] if found is not None else command


def comparable(block: str) -> tuple[list[str], list[str]]:
    """What does not change from one time to the next: the lines in front of the timeline or table, and those of it.

    At one moment things happen in any order; and what is sudden enough comes before any word of it.
    """
    for pattern, word in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", "ID"),
        (r"\d{4}-\d\d-\d\d ", ""),
        (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
        (r"\b[\d,.]+(?:e-\d+)? (ms|s|min|MiB|MB)\b(?: of CPU)?", "SOME"),
        (r" {2,}", "  "),
        # What of a line failed, which each version of Python marks in another way.
        (r"\n[ ~^]*[~^][ ~^]*(?=\n)", ""),
    ):
        block = re.sub(pattern, word, block)
    lines = block.splitlines()
    starts = (number for number, line in enumerate(lines) if line.startswith(("AFTER  ", "STARTED  ")))
    start = next(starts, len(lines))
    told = [line for line in lines[start:] if "gets no new requests" not in line and "its end is near" not in line]
    return lines[:start], sorted(told)


async def every_end(project: Path, database: str) -> dict[str, str]:
    """Serves the functions in ``project``, an empty folder. Takes some five seconds."""
    write_project(project, FUNCTIONS, outlast=_OUTLAST_TOML)
    told = Told(project)
    options = (f"--database={database}", "--graceful-exit-timeout=0.2")
    async with contextlib.AsyncExitStack() as stack:
        lost, node = await asyncio.gather(
            stack.enter_async_context(serving(project, *options)),
            stack.enter_async_context(serving(project, *options)),
        )
        killed, _ = await asyncio.gather(_killed(lost), _ended(node, told))
        [still_open] = node.found("log", function=_STILL_OPEN)
    cut = node.found("task", function=_STILL_OPEN)
    assert [task["request_id"] for task in cut] == [still_open["request_id"]]
    async with serving(project, *options, "--policy=oneshot") as node:
        await _call(node, "invoice")
        await _call(node, _STILL_OPEN)
        told.show(node, await node.wait_for("task", function=_STILL_OPEN))
        told.show(node, cut[0])
        told.show(node, killed)
        told.ask(node, *LISTING.split()[1:])
    return told.blocks


async def _killed(node: Node) -> Event:
    """Its open task."""
    task = await _open_task(node, _STILL_OPEN)
    await node.stop(signal.SIGKILL)
    return task


async def _ended(node: Node, told: Told) -> None:
    names = [name.partition("/")[0] for name in FUNCTIONS]
    told.show(node, await _open_task(node, _STILL_OPEN))
    await asyncio.gather(*(_call(node, name) for name in names if name != _STILL_OPEN))
    (node.project / "supabase/functions/visits/index.ts").write_text(FUNCTIONS["visits"] + "// changed\n")
    for name in names:
        if name != _STILL_OPEN:
            task = await node.wait_for("task", function=name, timeout=_PATIENCE_S)
            if task["outcome"] == "interrupted":
                await node.wait_for("shutdown", execution_id=task["execution_id"])
            told.show(node, task)


async def _open_task(node: Node, function: str) -> Event:
    """It is in the ledger when this returns: a question is answered with all that was before."""
    request_id = await _call(node, function)
    await node.wait_for("log", request_id=request_id)
    headers = {"authorization": f"Bearer {token(node)}"}
    # The commands that others ask with meanwhile hold up this event loop.
    async with httpx.AsyncClient(base_url=admin_url(node), headers=headers, timeout=_PATIENCE_S) as client:
        # What a function prints can come before what it has started.
        await client.post("/v1/catch-up")
        response = await client.get("/v1/tasks", params={"request": request_id})
    [task] = response.json()["items"]
    return {**task, "task_id": task["id"]}


async def _call(node: Node, function: str) -> str:
    """Returns the id of the request."""
    async with httpx.AsyncClient(base_url=f"{node.url}/functions/v1", timeout=_PATIENCE_S) as client:
        response = await client.get(f"/{function}")
    assert response.is_success or function in _WITHOUT_ANSWER, (function, response.text)
    return response.headers["sb-request-id"]


async def _main(*, write: bool) -> None:
    async with postgres.serving() as server:
        with tempfile.TemporaryDirectory(prefix="outlast-docs-") as folder:
            found = await every_end(Path(folder), await server.new_database())

    def renewed(match: re.Match[str]) -> str:
        new = found[key(match[1])]
        return match[0] if comparable(match[1]) == comparable(new) else f"```console\n{new}```"

    if write:
        PAGE.write_text(_BLOCK.sub(renewed, PAGE.read_text()))
    else:
        print("\n".join(found.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    asyncio.run(_main(write=parser.parse_args().write))
