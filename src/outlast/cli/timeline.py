"""The output of `outlast demo`: a line for each response when it arrives, and for each background task when it ends.

On a terminal, rows below the lines show the tasks that are still open.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from outlast.core.outcome import TaskOutcome
from outlast.telemetry.pretty import Pretty

MAX_BODY = 60
"""Characters of a response that are shown."""

Key = tuple[str, str]
"""Function and name of a task."""


class Timeline:
    """Reads a node's log (``hear`` is a `Log`'s ``write``, in JSON format), and is told of responses.

    ``problems`` has a line for each thing that went wrong.
    """

    def __init__(self, console: Console, functions: Iterable[str]) -> None:
        self.problems: list[str] = []
        self._console = console
        self._width = max(map(len, functions))
        self._started_at = time.perf_counter()
        self._responded_at: dict[str, float] = {}
        self._open: dict[Key, TaskID] = {}
        self._settled: list[Key] = []
        self._none_open = asyncio.Event()
        self._pretty: Pretty | None = None
        self._progress = Progress(
            TextColumn("        "),
            SpinnerColumn(),
            TextColumn(f"{{task.fields[function]:<{self._width}}}  {{task.description}}"),
            BarColumn(bar_width=20),
            _Seconds(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, heading: str) -> None:
        """Prints a heading. Times count from here."""
        self._console.print(heading)
        self._started_at = time.perf_counter()

    def expect(self, function: str, tasks: Sequence[str]) -> None:
        """``function`` is about to be called, and will have these tasks."""
        for name in tasks:
            row = self._progress.add_task(f'task "{name}"', total=None, function=function)
            self._open[function, name] = row
            self._none_open.clear()

    def response(self, function: str, status: int, body: str) -> None:
        self._responded_at[function] = time.perf_counter()
        if status >= 400:
            self.problems.append(f"{function}: answered {status}")
            # Its tasks may never have begun.
            for key in [key for key in self._open if key[0] == function]:
                self._close(key)
        shown = body if len(body) <= MAX_BODY else body[:MAX_BODY] + "…"
        self._line(function, Text(f"response {status}  ", "red" if status >= 400 else "bold") + Text(shown))

    async def all_settled(self, timeout_s: float) -> None:
        """Waits until every expected task has ended, and notes those that do not in ``problems``."""
        if self._open:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._none_open.wait()
            except TimeoutError:
                for function, name in self._open:
                    self.problems.append(f'{function}: task "{name}" had not ended after {timeout_s:.0f} s')

    def require(self, function: str, tasks: Sequence[str]) -> None:
        """Notes those of these tasks that never ended in ``problems``."""
        for name in tasks:
            if (function, name) not in self._settled:
                self.problems.append(f'{function}: task "{name}" never ended')

    def finish(self) -> None:
        """From now on, shows the log as `outlast serve` does."""
        self._progress.stop()
        self._pretty = Pretty(colour=self._console.is_terminal)

    def summary(self) -> str:
        return f"{len(self._responded_at)} responses, {len(self._settled)} background tasks, nothing lost."

    def hear(self, text: str) -> None:
        """One line of the log."""
        record: dict[str, Any] = msgspec.json.decode(text)
        if self._pretty is not None:
            del record["ts"]
            self._console.file.write(self._pretty.render(time.time(), record))
            self._console.file.flush()
            return
        function = record.get("function", "")
        match record["event"]:
            case "task":
                self._task(function, record)
            case "log" | "config" | "prepare" if record["level"] != "error":
                self._line(function, Text(record["msg"], "yellow" if record["level"] == "warning" else "dim"))
            case event if record["level"] == "error":
                self.problems.append(f"{function or 'outlast'}: {event}: {record.get('msg', '')}")
                self._line(function, Text(f"{event}: {record.get('msg', '')}", "red"))

    def _task(self, function: str, record: dict[str, Any]) -> None:
        key = function, record.get("name", "")
        fulfilled = record["outcome"] == TaskOutcome.FULFILLED
        if not fulfilled:
            self.problems.append(f'{function}: task "{key[1]}" {record["outcome"]}')
        self._settled.append(key)
        since = ""
        if function in self._responded_at:
            since = f", {time.perf_counter() - self._responded_at[function]:.2f} s after the response"
        style = "green" if fulfilled else "red"
        self._line(function, Text(f'task "{key[1]}" {record["outcome"].replace("_", " ")}{since}', style))
        self._close(key)

    def _close(self, key: Key) -> None:
        if (row := self._open.pop(key, None)) is not None:
            self._progress.remove_task(row)
        if not self._open:
            self._none_open.set()

    def _line(self, function: str, what: Text) -> None:
        seconds = time.perf_counter() - self._started_at
        self._console.print(Text(f"{seconds:7.2f} s  "), Text(function.ljust(self._width), "cyan"), "  ", what, sep="")


class _Seconds(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0:.1f} s")
