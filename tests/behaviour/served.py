"""A project of the functions in ``functions/``, in one language, served."""

import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.behaviour.gate import Gate, open_gate
from tests.support.node import Event, Node, serving

FUNCTIONS = Path(__file__).with_name("functions")
LANGUAGES = ("typescript", "python")
ENTRYPOINTS = {"typescript": "index.ts", "python": "main.py"}
SUFFIXES = {"typescript": {".ts"}, "python": {".py"}}

TYPESCRIPT_ONLY = pytest.mark.parametrize("language", ["typescript"], indirect=True, scope="module")
PYTHON_ONLY = pytest.mark.parametrize("language", ["python"], indirect=True, scope="module")


@dataclass
class Served:
    """A node, somebody who calls it, and the gate that its functions' work waits at."""

    node: Node
    client: httpx.AsyncClient
    gate: Gate

    async def call(self, path: str, *, method: str = "GET", **options: Any) -> httpx.Response:
        """Calls ``NAME/...``."""
        return await self.client.request(method, f"/functions/v1/{path}", **options)

    async def finished(self, response: httpx.Response, *, count: int = 1, **fields: object) -> list[Event]:
        """The ends of the ``count`` tasks that were started by the request with this response."""
        fields["request_id"] = response.headers["sb-request-id"]
        await self.node.wait_for("task", count=count, **fields)
        return self.node.found("task", **fields)

    @property
    def now(self) -> int:
        """For ``since``: the number of events so far."""
        return len(self.node.events)


def assemble(folder: Path, language: str, names: Iterable[str], *, config: str = "", outlast: str = "") -> Path:
    """Writes a project of these functions. Files of other languages stay behind."""
    for name in (*names, "_shared"):
        add_function(folder, language, name, FUNCTIONS / name)
    (folder / "supabase/config.toml").write_text(config)
    if outlast:
        (folder / "supabase/outlast.toml").write_text(outlast)
    return folder


def add_function(project: Path, language: str, name: str, source: Path) -> None:
    """Copies the files that are in this language, or in none, of a function."""
    if not name.startswith("_") and not (source / ENTRYPOINTS[language]).is_file():
        raise LookupError(f"{source} holds no {ENTRYPOINTS[language]}")
    foreign = {suffix for other, suffixes in SUFFIXES.items() if other != language for suffix in suffixes}

    def left_out(_: str, files: list[str]) -> list[str]:
        return [file for file in files if Path(file).suffix in foreign or file == "__pycache__"]

    shutil.copytree(source, project / "supabase/functions" / name, ignore=left_out)


@asynccontextmanager
async def served(project: Path, *arguments: str, **options: Any) -> AsyncIterator[Served]:
    """Serves the project, none of whose functions asks for a JWT, with a gate of its own."""
    async with open_gate() as gate:
        env_file = project / "gate.env"
        env_file.write_text(f"GATE_URL={gate.url}\nWORK_URL={gate.url}\n")
        serve = serving(project, "--no-verify-jwt", f"--env-file={env_file}", *arguments, **options)
        async with serve as node, httpx.AsyncClient(base_url=node.url, timeout=30) as client:
            yield Served(node, client, gate)
            gate.forget()
