"""A served project whose functions do what a request's query says, held up at a gate where the test wants them."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.behaviour.gate import Arrival, Gate, open_gate
from tests.support.node import Node, serving, write_project

PATIENCE_S = 30
"""For what only a broken program never does."""

_FUNCTION = """
%(imports)s
const pass = async (name: string) => (await fetch(`${Deno.env.get("GATE")}/${name}`)).text()
addEventListener("beforeunload", (event) => console.log(`beforeunload: ${event.detail.reason}`))
%(top_level)s
Deno.serve(async (request) => {
  const query = new URL(request.url).searchParams
  const task = query.get("task")
  if (task) EdgeRuntime.waitUntil(pass(task), { name: task })
  const wait = query.get("wait")
  if (wait) await pass(wait)
  return new Response(%(answer)s)
})
"""


def function(answer: str = "", *, code: str | None = None, imports: str = "", top_level: str = "") -> str:
    """Source of a function that answers ``answer``, or what the expression ``code`` gives.

    ``?task=NAME`` starts a task that passes the gate as NAME, ``?wait=NAME`` makes the response wait there.
    """
    return _FUNCTION % {"imports": imports, "top_level": top_level, "answer": code or repr(answer)}


@dataclass
class Site:
    node: Node
    client: httpx.AsyncClient
    gate: Gate
    _held: dict[str, Arrival] = field(default_factory=dict)

    @property
    def functions(self) -> Path:
        return self.node.project / "supabase" / "functions"

    @property
    def now(self) -> int:
        """For ``since``: the number of events so far."""
        return len(self.node.events)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(f"/functions/v1/{path}")

    async def held(self, *names: str) -> None:
        """Waits until these have come to the gate; they stay there."""
        for name in names:
            self._held[name] = await self.gate.arrival(name)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._held.pop(name).let_go()


@asynccontextmanager
async def site(
    folder: Path, functions: dict[str, str], *arguments: str, env: Mapping[str, str] | None = None, **files: str
) -> AsyncIterator[Site]:
    """``files``: texts of ``config`` and ``outlast``, as of `write_project`."""
    async with open_gate() as gate:
        write_project(folder, functions, **files)
        (folder / "supabase/functions/.env").write_text(f"GATE={gate.url}\n")
        async with serving(folder, *arguments, env=env) as node, connected(node) as client:
            yield Site(node, client, gate)


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S, limits=limits) as client:
        yield client


def worker_of(response: httpx.Response) -> str:
    return response.headers["x-sb-execution-id"]


def texts(responses: Iterable[httpx.Response]) -> set[tuple[int, str]]:
    return {(response.status_code, response.text) for response in responses}
