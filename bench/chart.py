"""The figures as bars, in SVG that is legible on a light page and on a dark one."""

from collections.abc import Iterator, Mapping
from html import escape
from statistics import median
from typing import Any, NamedTuple

from bench.work import number

WIDTH = 760
LABEL_WIDTH = 220
BAR_WIDTH = 420
BAR_HEIGHT = 18
GAP = 6
TITLE_HEIGHT = 34


class Panel(NamedTuple):
    """One work, with one bar for each that did it."""

    work: str
    figure: str
    title: str
    unit: str


PANELS = (
    Panel("throughput-typescript", "requests_per_s", "TypeScript: requests a second, more is better", ""),
    Panel("throughput-python", "requests_per_s", "Python: requests a second, more is better", ""),
    Panel(
        "background-typescript", "p99_ms", "TypeScript: p99 beside computing in the background, less is better", "ms"
    ),
    Panel("background-python", "p99_ms", "Python: p99 beside computing in the background, less is better", "ms"),
    Panel("first-byte", "first_byte_ms", "First byte of a function that is not running, less is better", "ms"),
)

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .ours { fill: #2f6feb; }
  .theirs { fill: #9aa4b2; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .theirs { fill: #6e7781; } }
"""


def draw(works: Mapping[str, Mapping[str, Any]]) -> str:
    """``works``: what was found, by the name of the work. Those that were not done are left out."""
    parts: list[str] = []
    top = 0
    for panel in PANELS:
        if panel.work in works:
            top = _panel(panel, works[panel.work]["rounds"], top, parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + GAP}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _panel(panel: Panel, rounds: Mapping[str, Any], top: int, parts: list[str]) -> int:
    """Returns where the next one begins."""
    parts.append(f'<text class="title" x="0" y="{top + TITLE_HEIGHT - 12}">{escape(panel.title)}</text>')
    top += TITLE_HEIGHT
    bars = [*_bars(panel, rounds)]
    longest = max(value for _, value in bars)
    for name, value in bars:
        width = max(1, BAR_WIDTH * value / longest)
        kind = "ours" if name.startswith(("Outlast", "typescript", "python")) else "theirs"
        baseline = top + BAR_HEIGHT - 5
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{baseline}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
        )
        label = f"{number(value)} {panel.unit}".rstrip()
        parts.append(f'<text x="{LABEL_WIDTH + width + 6:.1f}" y="{baseline}">{label}</text>')
        top += BAR_HEIGHT + GAP
    return top + GAP


def _bars(panel: Panel, rounds: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, each in rounds.items():
        yield name, median(one[panel.figure] for one in each)
