"""What commands print: aligned columns, on a terminal and in a file alike, or an object a line.

What functions say is in them (names of tasks, errors): nothing of it may steer a terminal.
"""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from outlast.telemetry.pretty import harmless

GAP = "  "
STYLES = {
    "fulfilled": "green",
    "rejected": "red",
    "timed out": "yellow",
    "interrupted": "yellow",
    "open": "cyan",
    "ready": "green",
    "retired": "yellow",
    "unloading": "yellow",
}


def console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def one_line(text: str) -> str:
    return harmless(text).replace("\n", "\\n").replace("\t", " ")


class Columns:
    """Columns whose widths fit what they begin with, and grow with what comes."""

    def __init__(self, *titles: str) -> None:
        self._titles = titles
        self._widths = [len(title) for title in titles]

    def fit(self, rows: Iterable[Sequence[str]]) -> None:
        for row in rows:
            self._widths = [max(width, cell_len(cell)) for width, cell in zip(self._widths, row, strict=True)]

    def title(self) -> Text:
        return Text(self._joined(self._titles), style="bold")

    def row(self, cells: Sequence[str]) -> Text:
        cells = [one_line(cell) for cell in cells]
        self.fit([cells])
        text = Text(self._joined(cells))
        for word, style in STYLES.items():
            if any(cell == word or cell.startswith(f"{word} (") for cell in cells):
                text.highlight_words([word], style)
        return text

    def _joined(self, cells: Sequence[str]) -> str:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=True)]
        return GAP.join(padded).rstrip()

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        self.fit([[one_line(cell) for cell in row] for row in rows])
        out = console()
        out.print(self.title())
        for row in rows:
            out.print(self.row(row))


def moment(text: str) -> datetime:
    """In local time."""
    return datetime.fromisoformat(text).astimezone()


def clock(text: str) -> str:
    when = moment(text)
    date = "" if when.date() == datetime.now().astimezone().date() else f"{when:%Y-%m-%d} "
    return f"{date}{when:%H:%M:%S}.{when.microsecond // 1000:03d}"


def duration(ms: float) -> str:
    if ms < 10:
        return f"{ms:.3g} ms"
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.3g} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def object_line(value: object) -> None:
    """One object a line, at once: whoever reads may wait for it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """To whoever sits there, beside what the command is asked to print."""
    print(f"outlast: {text}", file=sys.stderr)  # noqa: T201
