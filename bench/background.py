"""``python -m bench.background``: how long callers wait while each request leaves 20 ms of computing behind.

A server with one event loop lets the next request wait for it. Requests come at fixed times, 25 ms apart, or, with
``--random``, as from callers who do not know of each other. The peers are Deno.serve and uvicorn by themselves.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import contenders, open_loop
from bench.__main__ import machine
from bench.load import BenchError

RATE = 40
MOST_P99_MS = 8.0


class Round(NamedTuple):
    p50_ms: float
    p99_ms: float


def main() -> int:
    """Returns the exit code: 1 when a figure is worse than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.background")
    parser.add_argument("--rounds", type=int, default=3, help="of each server, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="of each round (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=3, help="seconds before each round (default: %(default)s)")
    parser.add_argument("--random", action="store_true", help="requests at random moments, the same for all servers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    found: dict[str, list[Round]] = {}
    with contextlib.ExitStack() as servers:
        ours = servers.enter_context(contenders.outlast("burning", ["--log-level=warning"]))
        contestants = {
            "outlast, TypeScript": ours,
            "Deno.serve": servers.enter_context(contenders.deno("bare_burning.ts")),
            "outlast, Python": f"{ours}-python",
            "uvicorn": servers.enter_context(contenders.uvicorn("bare_burning")),
        }
        for number in range(1, arguments.rounds + 1):
            for name, url in contestants.items():
                one = _round(url, arguments.warm_up, arguments.seconds, number if arguments.random else None)
                print(f"  round {number}: {name:<20} p50 {one.p50_ms:6.1f} ms, p99 {one.p99_ms:6.1f} ms")
                found.setdefault(name, []).append(one)
    figures = {name: median(one.p99_ms for one in rounds) for name, rounds in found.items()}
    for name, p99_ms in figures.items():
        wanted = f", wanted: {MOST_P99_MS} ms or less" if name.startswith("outlast") else ""
        print(f"{name}: p99 {p99_ms:.1f} ms{wanted}")
    if arguments.json is not None:
        rounds = {name: [one._asdict() for one in each] for name, each in found.items()}
        arguments.json.write_text(json.dumps({"machine": machine(), "rounds": rounds}, indent=2) + "\n")
    return int(any(p99_ms > MOST_P99_MS for name, p99_ms in figures.items() if name.startswith("outlast")))


def _round(url: str, warm_up_s: float, seconds: float, seed: int | None) -> Round:
    moments = open_loop.evenly(RATE) if seed is None else open_loop.randomly(RATE, seed)
    answers = open_loop.measure(url, moments, warm_up_s + seconds)
    began = answers[0].due_at + warm_up_s
    latencies = [answer.latency_ms for answer in answers if answer.due_at >= began]
    return Round(open_loop.percentile(latencies, 50), open_loop.percentile(latencies, 99))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
