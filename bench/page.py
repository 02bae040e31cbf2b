"""The figures that are kept: docs/performance.json, and what docs/performance.md shows of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import chart
from bench.table import WORKS
from bench.work import Finding, Row, Shown, number, spread

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
FIGURES = PAGE.with_suffix(".json")
BEGIN = "<!-- figures: written by `python -m bench --write` -->"
END = "<!-- figures: end -->"

SHOWN = {name: work.shown for name, work in WORKS.items() if work.shown is not None}
MARKS = {True: "met", False: "**short**", None: ""}


@dataclass(frozen=True)
class Measured:
    """What was found, by work, each with the machine that it was found on."""

    works: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, machine: Mapping[str, Any], findings: Sequence[Finding]) -> "Measured":
        return cls({finding.work: {**asdict(finding), "machine": machine} for finding in findings})

    @classmethod
    def load(cls, path: Path) -> "Measured":
        return cls(json.loads(path.read_text()) if path.exists() else {})

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.works, indent=1) + "\n")

    def with_those_of(self, newer: "Measured") -> "Measured":
        """Of works that are in both, the newer. In the order in which works are shown."""
        both = {**self.works, **newer.works}
        return Measured({name: both[name] for name in WORKS if name in both})


def write(measured: Measured, page: Path = PAGE) -> None:
    """Leaves everything in the page but what stands between its two marks as it is."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: where are the lines {BEGIN} and {END}?")
    kept = Measured.load(page.with_suffix(".json")).with_those_of(measured)
    kept.save(page.with_suffix(".json"))
    page.with_suffix(".svg").write_text(chart.draw(kept.works, SHOWN))
    page.write_text(f"{before}{BEGIN}\n\n{markdown(kept)}\n{END}{after}")


def markdown(measured: Measured) -> str:
    lines = ["| work | target | result | rounds | |", "| --- | --- | --- | --- | --- |"]
    for finding in measured.works.values():
        about = f"{finding['began'][:10]}, {finding['effort']}, {finding['stolen_percent']:.1f} % stolen"
        lines.append(f"| **{finding['title']}** | | | {about} | |")
        rows = [Row(**row) for row in finding["rows"]]
        lines += [f"| {row.title} | {row.wanted} | {row.result} | {row.spread} | {MARKS[row.is_met]} |" for row in rows]
    lines += ["", "Each of those who took part:", "", "| work | | result | rounds |", "| --- | --- | --- | --- |"]
    for name, shown in SHOWN.items():
        if name in measured.works:
            lines += _entrants(measured.works[name], shown)
    machines = {}
    for finding in measured.works.values():
        about = finding["machine"]
        machines[about["commit"]] = (
            f"- {finding['began'][:10]}, commit `{about['commit']}`: {about['processor']}, {about['cpus']} CPUs,"
            f" {about['memory_gb']} GB; {about['system']}; Python {about['python']}, {about['deno']};"
            f" load from {about['load_from']}"
        )
    return "\n".join([*lines, "", "Measured on:", "", *machines.values(), ""])


def _entrants(finding: Mapping[str, Any], shown: Shown) -> Iterator[str]:
    yield f"| **{finding['title']}** | | | |"
    for name, rounds in finding["rounds"].items():
        found = [one[shown.figure] for one in rounds]
        result = number(median(found), shown.unit)
        yield f"| {name} | {chart.LABELS[shown.figure]} | {result} | {spread(found)} |"
