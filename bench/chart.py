"""The figures as bars, in SVG that is legible on a light page and on a dark one."""

from collections.abc import Mapping
from html import escape
from statistics import median
from typing import Any

from bench.work import Shown, number

WIDTH = 760
LABEL_WIDTH = 220
BAR_WIDTH = 420
BAR_HEIGHT = 18
GAP = 6
TITLE_HEIGHT = 34

LABELS = {
    "requests_per_s": "requests/s",
    "p99_ms": "p99",
    "first_byte_ms": "median",
    "private_mb": "MB",
    "mib_per_s": "MiB/s",
}

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .ours { fill: #2f6feb; }
  .theirs { fill: #9aa4b2; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .theirs { fill: #6e7781; } }
"""


def draw(works: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Shown]) -> str:
    """``works``: what was found, ``shown``: what to show of it; both by the name of the work."""
    parts: list[str] = []
    top = 0
    for name, work in works.items():
        if name in shown:
            top = _panel(work, shown[name], top, parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + GAP}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _panel(work: Mapping[str, Any], shown: Shown, top: int, parts: list[str]) -> int:
    """Returns where the next one begins."""
    title = f"{work['title']}: {LABELS[shown.figure]}, {shown.better} is better"
    parts.append(f'<text class="title" x="0" y="{top + TITLE_HEIGHT - 12}">{escape(title)}</text>')
    top += TITLE_HEIGHT
    bars = {name: median(one[shown.figure] for one in rounds) for name, rounds in work["rounds"].items()}
    longest = max(bars.values())
    for name, value in bars.items():
        width = max(1, BAR_WIDTH * value / longest)
        kind = "ours" if name.startswith("Outlast") else "theirs"
        baseline = top + BAR_HEIGHT - 5
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{baseline}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
        )
        label = number(value, shown.unit)
        parts.append(f'<text x="{LABEL_WIDTH + width + 6:.1f}" y="{baseline}">{label}</text>')
        top += BAR_HEIGHT + GAP
    return top + GAP
