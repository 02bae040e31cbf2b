"""``python -m bench.recording``: what the ledger costs. Outlast with its embedded database against itself without one.

One task of 10 ms for each request, which is a record that is made and completed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from bench import comparison, contenders
from bench.__main__ import CONNECTIONS, machine
from bench.comparison import Comparison
from bench.load import BenchError

FUNCTIONS = {"TypeScript": "later", "Python": "later-python"}
LEAST_RATIO = 0.9
ON, OFF = "ledger on", "off"


def main() -> int:
    """Returns the exit code: 1 when a figure is worse than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.recording")
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=f"of {', '.join(FUNCTIONS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each round (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.languages) - FUNCTIONS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    figures = {}
    for language in arguments.languages or FUNCTIONS:
        function = FUNCTIONS[language]
        print(f"{language}:")
        with tempfile.TemporaryDirectory() as folder:
            found, ledger = _compare(function, Path(folder), arguments.rounds, arguments.seconds)
        print(
            f"  ledger on {comparison.throughput(found.ours):,.0f}, off {comparison.throughput(found.theirs):,.0f}"
            f" requests/s; ratio {found.ratio:.3f} ({min(found.ratios):.3f} to {max(found.ratios):.3f}),"
            f" wanted: {LEAST_RATIO} or more; {ledger['written']:,} records written, {ledger['backlog']:,} wait"
        )
        figures[language] = {
            "ratio": found.ratio,
            "ratios": found.ratios,
            "on_requests_per_s": comparison.throughput(found.ours),
            "off_requests_per_s": comparison.throughput(found.theirs),
            "records": ledger["written"],
        }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine(), "languages": figures}, indent=2) + "\n")
    return int(any(one["ratio"] < LEAST_RATIO for one in figures.values()))


def _compare(function: str, folder: Path, rounds: int, seconds: int) -> tuple[Comparison, dict[str, Any]]:
    """Also returns what the ledger says of itself. Raises BenchError where it did not keep up."""
    projects = {side: _copy(folder / side) for side in (ON, OFF)}
    options = ["--log-level=warning", "--admin-port=0"]
    ready: list[dict[str, str]] = []
    with (
        contenders.outlast(function, [*options, "--database=embedded"], projects[ON], on_ready=ready.append) as on,
        contenders.outlast(function, [*options, "--database=off"], projects[OFF]) as off,
    ):
        found = comparison.compare(
            on,
            off,
            rounds=rounds,
            seconds=seconds,
            connections=CONNECTIONS,
            note=lambda text: print(" ", text),
            names=(ON, OFF),
        )
        ledger = _ledger(ready[0]["admin_url"], projects[ON])
    if not ledger["connected"] or ledger["dropped"]:
        raise BenchError(f"not everything was recorded: {ledger}")
    return found, ledger


def _copy(project: Path) -> Path:
    """Without what other runs have left."""
    return Path(shutil.copytree(contenders.HERE / "project", project, ignore=shutil.ignore_patterns(".outlast")))


def _ledger(admin_url: str, project: Path) -> dict[str, Any]:
    token = (project / ".outlast" / "admin-token").read_text().strip()
    request = urllib.request.Request(f"{admin_url}/v1/node", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        status: dict[str, Any] = json.load(answer)["ledger"]
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
