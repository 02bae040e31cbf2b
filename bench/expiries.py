"""``python -m bench.expiries``: whether callers notice that a worker is replaced.

Four functions are called at a steady rate: two whose workers are replaced because of their age, two because of their
CPU time. Latencies of requests around the moments when that happened are compared with all others.
"""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path

from bench import contenders, open_loop
from bench.__main__ import machine
from bench.load import BenchError

FUNCTIONS = ("ageing", "ageing-python", "computing", "computing-python")
RATE = 50
BEFORE_S = 0.2
"""Of the moment when a worker retires: its successor comes up."""
AFTER_S = 0.3
"""Of it: the first requests of a new worker, and the start of the next one on standby."""
WARM_UP_S = 2.0
MOST_RATIO = 3.0


def main() -> int:
    """Returns the exit code: 1 when a figure is worse than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.expiries")
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(FUNCTIONS)}; default: all")
    parser.add_argument("--seconds", type=float, default=40, help="for each function (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.functions) - {*FUNCTIONS}:
        parser.error(f"there is no function {', '.join(sorted(unknown))}")
    figures = {}
    for name in arguments.functions or FUNCTIONS:
        one = _measure(name, arguments.seconds)
        print(
            f"{name}: {one['expiries']} expiries, p99 {one['p99_during_ms']:.1f} ms during them and"
            f" {one['p99_between_ms']:.1f} ms between; ratio {one['ratio']:.2f}, wanted: {MOST_RATIO} or less"
        )
        figures[name] = one
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine(), "functions": figures}, indent=2) + "\n")
    return int(any(one["ratio"] > MOST_RATIO for one in figures.values()))


def _measure(function: str, seconds: float) -> dict[str, float]:
    log = bytearray()
    with contenders.outlast(function, on_log=log.extend) as url:
        answers = open_loop.measure(url, open_loop.evenly(RATE), WARM_UP_S + seconds)
    retired = [
        datetime.fromisoformat(entry["ts"]).timestamp()
        for entry in map(json.loads, log.splitlines())
        if entry["event"] == "retire" and entry["reason"] in ("wall_clock", "cpu")
    ]
    during: list[float] = []
    between: list[float] = []
    for answer in answers:
        if answer.due_at >= answers[0].due_at + WARM_UP_S:
            is_near = any(-BEFORE_S <= answer.due_at - moment <= AFTER_S for moment in retired)
            (during if is_near else between).append(answer.latency_ms)
    if not (during and between):
        raise BenchError(f"{function}: {len(retired)} expiries in {seconds} s cannot be compared with anything")
    p99_during, p99_between = open_loop.percentile(during, 99), open_loop.percentile(between, 99)
    return {
        "expiries": len(retired),
        "requests_during": len(during),
        "requests_between": len(between),
        "p50_during_ms": open_loop.percentile(during, 50),
        "p50_between_ms": open_loop.percentile(between, 50),
        "p99_during_ms": p99_during,
        "p99_between_ms": p99_between,
        "ratio": p99_during / p99_between,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
