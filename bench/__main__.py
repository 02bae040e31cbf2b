"""``python -m bench``: chooses what to measure and for how long, and where the figures go."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import load, machine, page, runner, table
from bench.connection import BenchError
from bench.work import Effort, Finding, Work, number, spread
from bench.works import throughput

MARKS = {True: "[green]met[/]", False: "[red]short[/]", None: ""}


def main() -> int:
    """Returns the exit code: 2 if something could not be measured, 1 if a figure misses its target, unless it was a
    smoke run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Outlast beside its peers, in one run on one machine. bench/setup installs the peers.",
        epilog=f"works: {', '.join(table.WORKS)}. The part before a hyphen stands for all works that begin with it.",
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help="default: all")
    parser.add_argument("--quick", action="store_true", help="only what has targets, in under 3 minutes")
    parser.add_argument("--smoke", action="store_true", help="a moment of each, only to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the figures into docs/performance.md, .json and .svg, replacing those of the same works",
    )
    arguments = parser.parse_args()
    # Ended by a signal, too, it ends the servers that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    effort = Effort.SMOKE if arguments.smoke else Effort.QUICK if arguments.quick else Effort.FULL
    try:
        works = table.chosen(arguments.works, effort)
    except KeyError as error:
        parser.error(f"there is no work {error.args[0]}; there are: {', '.join(table.WORKS)}")
    if arguments.write and effort is Effort.SMOKE:
        parser.error("the figures of --smoke mean nothing: --write wants others")

    described = machine.describe() | {"load_from": load.generator(throughput.seconds(effort))}
    errors = Console(stderr=True)
    errors.print(f"{described['processor']}, {described['cpus']} CPUs. Load from: {described['load_from']}")
    failures: list[BenchError] = []
    with _progress(errors, works) as report:
        findings = [*runner.run(works, effort, report, failures.append)]
    Console(width=None if sys.stdout.isatty() else 160).print(_table(findings, judged=effort is not Effort.SMOKE))
    measured = page.Measured.of(described, findings)
    if arguments.json is not None:
        measured.save(arguments.json)
    if arguments.write:
        page.write(measured)
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    if failures:
        return 2
    missed = any(row.is_met is False for finding in findings for row in finding.rows)
    return int(missed and effort is not Effort.SMOKE)


@contextmanager
def _progress(console: Console, works: Sequence[Work]) -> Iterator[Callable[[Work], runner.Progress]]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
        console=console,
        transient=True,
    )
    with bar:
        task: TaskID = bar.add_task("", total=len(works), doing="")

        def report(work: Work) -> runner.Progress:
            done = works.index(work)

            def tell(doing: str, share: float) -> None:
                bar.update(task, description=work.name, completed=done + share, doing=doing)

            return tell

        yield report


def _table(findings: Sequence[Finding], judged: bool) -> Table:
    whole = Table("work", "target", "result", "rounds", "", title=None if judged else "smoke: the figures mean nothing")
    for finding in findings:
        whole.add_section()
        whole.add_row(
            f"[bold]{finding.title}[/]", "", "", f"{finding.effort}, {finding.stolen_percent:.1f} % stolen", ""
        )
        if shown := page.SHOWN.get(finding.work):
            for name, rounds in finding.rounds.items():
                found = [one[shown.figure] for one in rounds]
                result = number(median(found), shown.unit)
                whole.add_row(f"  [dim]{name}[/]", "", f"[dim]{result}[/]", f"[dim]{spread(found)}[/]", "")
        for row in finding.rows:
            whole.add_row(f"  {row.title}", row.wanted, row.result, row.spread, MARKS[row.is_met] if judged else "")
    return whole


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
