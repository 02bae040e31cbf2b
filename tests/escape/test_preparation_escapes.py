"""What a function tries before it runs: by what it imports and by the packages it asks for, which the node fetches."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.escape.land import UNCONFINED
from tests.support.node import Node, serving, write_project

STAYS_OPEN = {"static-import-of-a-neighbour"}
"""Come through, and docs/security.md says so."""

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
    "scripts-of-a-package/index.ts": 'import "npm:planted@1.0.0";\nDeno.serve(() => Response.json("runs"));\n',
    "scripts-of-a-package/deno.json": '{ "nodeModulesDir": "auto", "allowScripts": ["npm:planted"] }',
}


@dataclass
class Site:
    node: Node
    client: httpx.AsyncClient
    hideout: Path

    async def attempt(self, probe: str) -> tuple[bool, str]:
        """Whether the function got hold of the secret, or had something written outside; what the node says."""
        answer = await self.client.get(f"/functions/v1/{probe}")
        planted = self.hideout / probe
        failures = [event["msg"] for event in self.node.found("boot_failure", function=probe)]
        return "the secret" in answer.text or planted.exists(), " ".join([answer.text, *failures])


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
    sources = {
        path: text.replace("{function}", str((functions / path).parent)).replace("{hideout}", str(hideout))
        for path, text in FUNCTIONS.items()
    }
    project = write_project(folder / "project", sources)
    (functions / "import-of-a-link/link.py").symlink_to(folder / "secret.py")
    with npm_registry({"postinstall": f"touch '{hideout}/scripts-of-a-package'"}) as registry:
        env = {"NPM_CONFIG_REGISTRY": registry, "DENO_DIR": str(folder / "deno")}
        async with (
            serving(project, *arguments, env=env) as node,
            httpx.AsyncClient(base_url=node.url, timeout=30) as client,
        ):
            yield Site(node, client, hideout)


@contextmanager
def npm_registry(scripts: dict[str, str]) -> Iterator[str]:
    """Serves one package, ``planted`` 1.0.0, which has these scripts. Yields its address."""
    tarball = _tarball({"package.json": json.dumps({"name": "planted", "version": "1.0.0", "scripts": scripts})})
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = tarball if self.path.endswith(".tgz") else json.dumps(packument).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody wants to read of it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        dist = {"tarball": f"{url}/planted/-/planted-1.0.0.tgz", "integrity": f"sha512-{digest}"}
        version = {"name": "planted", "version": "1.0.0", "scripts": scripts, "hasInstallScript": True, "dist": dist}
        packument = {"name": "planted", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{url}/"
        server.shutdown()
        thread.join()


def _tarball(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in {**files, "index.js": ""}.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.mark.parametrize("probe", sorted({path.split("/")[0] for path in FUNCTIONS} - {"neighbour"}))
async def test_node_is_not_made_to(probe: str, unconfined: Site, confined: Site) -> None:
    escaped, detail = await unconfined.attempt(probe)
    assert escaped, f"not a real probe: it fails without walls as well: {detail}"
    escaped, detail = await confined.attempt(probe)
    if probe in STAYS_OPEN:
        assert escaped, f"no longer open; take it from the list here and in docs/security.md: {detail}"
    else:
        assert not escaped, f"it came through: {detail}"
