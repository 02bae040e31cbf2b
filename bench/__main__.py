"""``python -m bench``: what is measured, how often, and where the figures go."""

import argparse
import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import comparison, contenders
from bench.load import BenchError

CONNECTIONS = 32


@dataclass(frozen=True)
class Line:
    """One comparison. ``target``: the least ratio to be content with."""

    title: str
    ours: Callable[[], contextlib.AbstractContextManager[str]]
    theirs: Callable[[], contextlib.AbstractContextManager[str]]
    target: float


LINES = {
    "typescript-warm": Line(
        title=f"TypeScript, warm, {CONNECTIONS} connections, one 10 ms task a request; peer: Deno.serve by itself",
        ours=lambda: contenders.outlast("later", ["--log-level=warning"]),
        theirs=lambda: contenders.deno("bare.ts"),
        target=0.25,
    ),
    "typescript-warm-logged": Line(
        title="the same, with a log line for each request and each task, which the peer does not write",
        ours=lambda: contenders.outlast("later"),
        theirs=lambda: contenders.deno("bare.ts"),
        target=0.2,
    ),
}


def main() -> int:
    """Returns the exit code: 1 when a line misses its target, which a smoke run does not judge."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Outlast against its peers.")
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"of {', '.join(LINES)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each round (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one round of 2 s each: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.lines) - LINES.keys():
        parser.error(f"there is no line {', '.join(sorted(unknown))}; there are: {', '.join(LINES)}")
    rounds, seconds = (1, 2) if arguments.smoke else (arguments.rounds, arguments.seconds)

    figures = {}
    missed = False
    for name in arguments.lines or LINES:
        line = LINES[name]
        print(f"{name}: {line.title}")
        with line.ours() as ours, line.theirs() as theirs:
            found = comparison.compare(
                ours,
                theirs,
                rounds=rounds,
                seconds=seconds,
                connections=CONNECTIONS,
                note=lambda text: print(" ", text),
            )
        missed |= found.ratio < line.target
        print(
            f"  outlast {comparison.throughput(found.ours):,.0f}, peer {comparison.throughput(found.theirs):,.0f}"
            f" requests/s; ratio {found.ratio:.3f} ({min(found.ratios):.3f} to {max(found.ratios):.3f}),"
            f" wanted: {line.target} or more\n"
        )
        figures[name] = {"title": line.title, "target": line.target, **found.as_json()}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine(), "lines": figures}, indent=2) + "\n")
    return int(missed and not arguments.smoke)


def machine() -> dict[str, object]:
    return {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
