"""The demo as it happens: a node, the calls to it, and their timeline."""

import asyncio
import contextlib
import http.client
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from outlast import app
from outlast.cli.calls import Call
from outlast.cli.client import connect
from outlast.cli.timeline import Timeline
from outlast.telemetry.logs import Format, Log

CALL_TIMEOUT_S = 60.0
"""The first call of all waits until Deno has looked at the code, which a slow machine takes seconds for."""
TASKS_TIMEOUT_S = 60.0


@dataclass
class Exhibit:
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
            self.console.print(f"  {command:<{width}}  # {call.shows}")
        functions = self.options.target / "supabase" / "functions"
        self.console.print(f"\nOr change a function below {functions} and call it again. Ctrl-C ends the demo.\n")

    def _tell(self, problems: Sequence[str]) -> None:
        for problem in problems:
            self.console.print(f"Went wrong: {problem}", style="red")


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _get(url: str, path: str) -> tuple[int, str]:
    """Status and body. Raises OSError when nobody answers."""
    with contextlib.closing(connect(urlsplit(url), CALL_TIMEOUT_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace").strip()
