"""``outlast demo``: the packaged examples, served and called, and a timeline of what came when."""

import asyncio
import http.client
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
import uvloop
from rich.console import Console

from outlast import app, storage
from outlast.admin.server import Address
from outlast.cli.timeline import Timeline
from outlast.telemetry.logs import Format, Log

EXAMPLES = Path(__file__).parents[1] / "examples"
CALL_TIMEOUT_S = 60.0
"""The first call of all waits until Deno has looked at the code, which a slow machine takes seconds for."""
TASKS_TIMEOUT_S = 60.0


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``examples/calls.toml``, which says what the fields mean."""

    function: str
    shows: str
    query: str = ""
    tasks: tuple[str, ...] = ()
    tasks_at_exit: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"/functions/v1/{self.function}" + (f"?{self.query}" if self.query else "")


class _Calls(msgspec.Struct, frozen=True):
    call: tuple[Call, ...]


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End when all is shown; exit code 1 if anything failed.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(help="0: any that is free.", min=0, max=65535, show_default="54321; with --once any that is free"),
    ] = None,
) -> None:
    """Serve the packaged examples, call them, and show when each response and each background task was done."""
    if port is None:
        port = 0 if once else app.Options.port
    console = Console(soft_wrap=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="demo-outlast-") as folder:
        # A copy, because the package may lie where nobody may write, and so that visitors can change the code.
        shutil.copytree(EXAMPLES / "supabase", Path(folder, "supabase"), copy_function=shutil.copyfile)
        environ = {**os.environ, "DENO_DIR": _deno_dir(os.environ)}
        options = app.Options(
            target=Path(folder), environ=environ, port=port, admin=Address(port=0), database=storage.OFF
        )
        sys.exit(uvloop.run(_Demo(options, calls(), console, once=once).run()))


def calls() -> Sequence[Call]:
    """What the demo calls, in order."""
    return msgspec.toml.decode((EXAMPLES / "calls.toml").read_bytes(), type=_Calls).call


def _deno_dir(environ: Mapping[str, str]) -> str:
    """The user's cache rather than the copy, so that only the first demo on a machine has anything to fetch."""
    if named := environ.get("DENO_DIR"):
        return named
    # The XDG base directory specification has relative paths ignored.
    cache = environ.get("XDG_CACHE_HOME", "")
    return str((Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "outlast" / "deno")


@dataclass
class _Demo:
    options: app.Options
    calls: Sequence[Call]
    console: Console
    once: bool

    async def run(self) -> int:
        """Returns the exit code. Raises what keeps the node from starting."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with Timeline(self.console, [call.function for call in self.calls]) as timeline:
            log = Log(timeline.hear, format=Format.JSON)
            node = asyncio.create_task(app.serve(self.options, log, on_ready=lambda url, _: ready.set_result(url)))
            await _first(node, ready)
            if ready.done():
                show = asyncio.create_task(self._show(ready.result(), timeline))
                await _first(node, show)
                if not show.cancel():
                    show.result()
                if self.once and not node.done():
                    # The node ends as it would by Ctrl-C, which the last part of the timeline is about.
                    signal.raise_signal(signal.SIGTERM)
            code = await node
        if code or not self.once:
            return code
        for call in self.calls:
            timeline.require(call.function, [*call.tasks, *call.tasks_at_exit])
        self.console.print()
        if timeline.problems:
            self._tell(timeline.problems)
            return 1
        self.console.print(timeline.summary())
        return 0

    async def _show(self, url: str, timeline: Timeline) -> None:
        timeline.start(f"Serving the examples at {url}/functions/v1/\n")
        for call in self.calls:
            timeline.expect(call.function, call.tasks)
            try:
                status, body = await asyncio.to_thread(_get, url, call.path)
            except (OSError, http.client.HTTPException) as error:
                timeline.problems.append(f"{call.function}: gave no answer: {error}")
                break
            timeline.response(call.function, status, body)
        else:
            await timeline.all_settled(TASKS_TIMEOUT_S)
        if not self.once:
            timeline.finish()
            self._invite(url)
            self._tell(timeline.problems)

    def _invite(self, url: str) -> None:
        self.console.print("\nServing goes on. Try, in another terminal:\n")
        commands = {call: f"curl {shlex.quote(url + call.path)}" for call in self.calls}
        width = max(map(len, commands.values()))
        for call, command in commands.items():
            self.console.print(f"  {command:<{width}}  # {call.shows}", markup=False)
        functions = self.options.target / "supabase" / "functions"
        self.console.print(f"\nOr change a function below {functions} and call it again. Ctrl-C ends the demo.\n")

    def _tell(self, problems: Sequence[str]) -> None:
        for problem in problems:
            self.console.print(f"Went wrong: {problem}", style="red", markup=False)


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _get(url: str, path: str) -> tuple[int, str]:
    """Status and body. Raises OSError when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace").strip()
    finally:
        connection.close()
