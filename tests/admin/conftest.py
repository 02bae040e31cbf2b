from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.support.admin import PATIENCE_S, admin
from tests.support.node import Node, serving, write_project

FUNCTIONS = {
    "napping": """
const open = [];
function spin(ms) {
  for (const end = Date.now() + ms; Date.now() < end;);
}
Deno.serve((request) => {
  const query = new URL(request.url).searchParams;
  if (query.has("wake")) {
    open.splice(0).forEach((wake) => wake());
    return new Response("woken");
  }
  console.log(`asked for ${query.get("name")}`);
  if (query.has("spin")) setTimeout(() => spin(Number(query.get("spin"))));
  if (query.has("name")) EdgeRuntime.waitUntil(new Promise((wake) => open.push(wake)), { name: query.get("name") });
  return new Response("asleep");
});
""",
    "hello/main.py": """
from outlast import Request, Response, serve

@serve
async def handler(request: Request) -> Response:
    return Response("hello")
""",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    project: Path = write_project(tmp_path_factory.mktemp("admin"), FUNCTIONS)
    async with serving(project) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async with admin(node) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def functions(node: Node, api: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """When it has a response, the node knows of all tasks that the function had started by then."""

    async def catch_up(_: httpx.Response) -> None:
        (await api.post("/v1/catch-up", params={"wait_ms": 100})).raise_for_status()

    hooks = {"response": [catch_up]}
    async with httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S, event_hooks=hooks) as client:
        yield client
