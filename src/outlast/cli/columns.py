"""Prints aligned columns, on a terminal and in a file alike.

Rich is imported only when something is printed: the help, and JSON output, do not need it.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from outlast.cli.lines import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

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


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


class Columns:
    """Columns that fit the first rows, and grow with later ones."""

    def __init__(self, *titles: str) -> None:
        self._titles = titles
        self._widths = [len(title) for title in titles]

    def fit(self, rows: Iterable[Sequence[str]]) -> None:
        from rich.cells import cell_len

        for row in rows:
            self._widths = [max(width, cell_len(cell)) for width, cell in zip(self._widths, row, strict=True)]

    def title(self) -> "Text":
        from rich.text import Text

        return Text(self._joined(self._titles), style="bold")

    def row(self, cells: Sequence[str]) -> "Text":
        from rich.text import Text

        cells = [one_line(cell) for cell in cells]
        self.fit([cells])
        text = Text(self._joined(cells))
        for word, style in STYLES.items():
            if any(cell == word or cell.startswith(f"{word} (") for cell in cells):
                text.highlight_words([word], style)
        return text

    def _joined(self, cells: Sequence[str]) -> str:
        from rich.cells import cell_len

        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=True)]
        return GAP.join(padded).rstrip()

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        self.fit([[one_line(cell) for cell in row] for row in rows])
        out = console()
        out.print(self.title())
        for row in rows:
            out.print(self.row(row))
