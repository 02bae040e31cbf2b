from collections.abc import Iterator

import pytest
from tests.support.node import DENO_DIR, write_project

from outlast.testing import Server

FUNCTIONS = {
    "jobs": """
const open = [];
Deno.serve(async (request) => {
  const url = new URL(request.url);
  const asked = url.searchParams;
  for (let i = 0; i < Number(asked.get("lines") ?? 0); i++) console.log(`line ${i}`);
  if (asked.has("warn")) console.warn("careful");
  for (const name of asked.getAll("task")) EdgeRuntime.waitUntil(Promise.resolve().then(() => {}), { name });
  for (const name of asked.getAll("bad")) EdgeRuntime.waitUntil(Promise.reject(new Error("no paper")), { name });
  for (const name of asked.getAll("open")) EdgeRuntime.waitUntil(new Promise((wake) => open.push(wake)), { name });
  if (asked.has("spin")) EdgeRuntime.waitUntil((async () => { for (;;) await null; })(), { name: "spin" });
  if (asked.has("wake")) open.splice(0).forEach((wake) => wake());
  if (asked.has("env")) return new Response(Deno.env.get(asked.get("env")));
  if (asked.has("silent")) await new Promise(() => {});
  return Response.json({
    method: request.method,
    path: url.pathname,
    query: url.search,
    type: request.headers.get("content-type"),
    authorization: request.headers.get("authorization"),
    body: await request.text(),
  }, { status: Number(asked.get("status") ?? 200), headers: { "x-own": "yes" } });
});
""",
    "pyjobs/main.py": """
import asyncio
import os

from outlast import EdgeRuntime, Request, Response, serve

waiting = asyncio.Event()


async def fails() -> None:
    raise ValueError("no paper")


async def spin() -> None:
    while True:
        pass


@serve
async def handler(request: Request) -> Response:
    asked = request.query_params
    for i in range(int(asked.get("lines", 0))):
        print("line", i)
    for name in asked.getlist("task"):
        EdgeRuntime.wait_until(asyncio.sleep(0), name=name)
    for name in asked.getlist("bad"):
        EdgeRuntime.wait_until(fails(), name=name)
    for name in asked.getlist("open"):
        EdgeRuntime.wait_until(waiting.wait(), name=name)
    if "spin" in asked:
        EdgeRuntime.wait_until(spin(), name="spin")
    if "wake" in asked:
        waiting.set()
    return Response(os.environ.get(asked.get("env", ""), ""))
""",
    "locked": 'Deno.serve((request) => new Response(request.headers.get("authorization")))',
}
CONFIG = "[functions.locked]\nverify_jwt = true\n"


@pytest.fixture(scope="session")
def outlast_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """In place of the plugin's own, which would look for a project around this repository."""
    project = write_project(tmp_path_factory.mktemp("kit"), FUNCTIONS, config=CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENO_DIR", str(DENO_DIR))
        server = Server(project, project / "log")
    with server:
        yield server


@pytest.fixture(params=["jobs", "pyjobs"])
def jobs(request: pytest.FixtureRequest) -> str:
    """A function of each language."""
    return str(request.param)
