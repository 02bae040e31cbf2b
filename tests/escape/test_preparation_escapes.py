"""What a function tries before it runs: by what it imports and by the packages it asks for, which the node fetches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.escape.land import UNCONFINED
from tests.support.node import Node, serving, write_project
from tests.support.npm import npm_registry

STAYS_OPEN = {"static-import-of-a-neighbour"}
"""Come through, and docs/security.md says so."""

SECRET = "known-to-the-node-alone"
SERVES_WHAT_IT_IMPORTS = "Deno.serve(() => Response.json(found));\n"

FUNCTIONS = {
    "static-import-of-data/index.ts": 'import found from "../../../../secret.json" with { type: "json" };\n'
    + SERVES_WHAT_IT_IMPORTS,
    "static-import-of-text/index.ts": 'import found from "../../../../secret.txt" with { type: "text" };\n'
    + SERVES_WHAT_IT_IMPORTS,
    "static-import-of-text/deno.json": '{ "unstable": ["raw-imports"] }',
    "static-import-of-a-neighbour/index.ts": 'import { found } from "../neighbour/private.ts";\n'
    + SERVES_WHAT_IT_IMPORTS,
    "neighbour/index.ts": 'Deno.serve(() => new Response("here"));\n',
    "neighbour/private.ts": 'export const found = "the secret";\n',
    "import-of-a-link/main.py": """
import link

from outlast import Response, serve

serve(lambda request: Response.json(link.found))
""",
    "build-of-a-package/main.py": """
# /// script
# dependencies = ["planted @ file://{function}/planted"]
# ///
from outlast import Response, serve

serve(lambda request: Response.json("runs"))
""",
    "build-of-a-package/planted/pyproject.toml": """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "planted"
version = "1.0.0"
""",
    "build-of-a-package/planted/backend.py": """
from pathlib import Path

Path("{hideout}/build-of-a-package").write_text("the secret")
""",
    "settings-of-a-registry/index.ts": 'import "npm:confided@1.0.0";\nDeno.serve(() => Response.json("runs"));\n',
    "settings-of-a-registry/deno.json": "{}",
    "settings-of-a-registry/.npmrc": "//{registry}/:_authToken=${SECRET_OF_THE_NODE}\n",
    "scripts-of-a-package/index.ts": 'import "npm:planted@1.0.0";\nDeno.serve(() => Response.json("runs"));\n',
    "scripts-of-a-package/deno.json": '{ "nodeModulesDir": "auto", "allowScripts": ["npm:planted"] }',
}


@dataclass
class Site:
    node: Node
    client: httpx.AsyncClient
    hideout: Path
    heard: list[str]
    """What the registry was asked for, and with which rights."""

    async def attempt(self, probe: str) -> tuple[bool, str]:
        """Whether the function got hold of a secret, or had something written outside; what the node says."""
        answer = await self.client.get(f"/functions/v1/{probe}")
        planted = self.hideout / probe
        failures = [event["msg"] for event in self.node.found("boot_failure", function=probe)]
        told = probe == "settings-of-a-registry" and any(SECRET in request for request in self.heard)
        return "the secret" in answer.text or planted.exists() or told, " ".join([answer.text, *failures])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unconfined(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("unconfined"), *UNCONFINED) as there:
        yield there


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def confined(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("confined")) as there:
        yield there


@asynccontextmanager
async def site(folder: Path, *arguments: str) -> AsyncIterator[Site]:
    hideout = folder / "hideout"
    hideout.mkdir()
    (folder / "secret.json").write_text('"the secret"')
    (folder / "secret.txt").write_text("the secret")
    (folder / "secret.py").write_text('found = "the secret"\n')
    functions = folder / "project/supabase/functions"
    heard: list[str] = []
    with npm_registry(heard, {"postinstall": f"touch '{hideout}/scripts-of-a-package'"}) as registry:
        names = {"{hideout}": str(hideout), "{registry}": registry}
        sources = {}
        for path, text in FUNCTIONS.items():
            for name, value in {**names, "{function}": str((functions / path).parent)}.items():
                text = text.replace(name, value)
            sources[path] = text
        project = write_project(folder / "project", sources)
        (functions / "import-of-a-link/link.py").symlink_to(folder / "secret.py")
        env = {
            "NPM_CONFIG_REGISTRY": f"http://{registry}/",
            "DENO_DIR": str(folder / "deno"),
            "SECRET_OF_THE_NODE": SECRET,
        }
        async with (
            serving(project, *arguments, env=env) as node,
            httpx.AsyncClient(base_url=node.url, timeout=30) as client,
        ):
            yield Site(node, client, hideout, heard)


@pytest.mark.parametrize("probe", sorted({path.split("/")[0] for path in FUNCTIONS} - {"neighbour"}))
async def test_node_is_not_made_to(probe: str, unconfined: Site, confined: Site) -> None:
    escaped, detail = await unconfined.attempt(probe)
    assert escaped, f"not a real probe: it fails without walls as well: {detail}"
    escaped, detail = await confined.attempt(probe)
    if probe in STAYS_OPEN:
        assert escaped, f"no longer open; take it from the list here and in docs/security.md: {detail}"
    else:
        assert not escaped, f"it came through: {detail}"
