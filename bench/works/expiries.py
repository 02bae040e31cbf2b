"""Whether callers notice that a worker is replaced: because of its age, or because of its CPU time."""

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from bench import connection, open_loop
from bench.project import Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Target, Work

RATE = 50
BEFORE_S = 0.2
"""Of the moment when a worker retires: its successor comes up."""
AFTER_S = 0.3
"""Of it: the first requests of a new worker, and the start of the next one on standby."""
MOST_RATIO = 3.0


def _measure(url: str, log: bytearray, seconds: float) -> Figures:
    answers = open_loop.measure(url, open_loop.evenly(RATE), seconds)
    retired = [
        datetime.fromisoformat(entry["ts"]).timestamp()
        # The last line may still be coming.
        for entry in map(json.loads, bytes(log).rpartition(b"\n")[0].splitlines())
        if entry["event"] == "retire" and entry["reason"] in ("wall_clock", "cpu")
    ]
    during: list[float] = []
    between: list[float] = []
    for answer in answers:
        is_near = any(-BEFORE_S <= answer.due_at - moment <= AFTER_S for moment in retired)
        (during if is_near else between).append(answer.latency_ms)
    figures = {"expiries": float(len(retired))}
    if during and between:
        figures["p99_during_ms"] = open_loop.percentile(during, 99)
        figures["p99_between_ms"] = open_loop.percentile(between, 99)
        figures["ratio"] = figures["p99_during_ms"] / figures["p99_between_ms"]
    return figures


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    # A worker of each lasts about two seconds.
    ageing = {"limits": {"wall_clock_ms": effort.of(800, 4_000, 4_000)}}
    computing = {"limits": {"cpu_soft_ms": effort.of(50, 300, 300), "cpu_hard_ms": 3_000}}
    functions = {
        "ageing": Function("later", ageing),
        "ageing-python": Function("later-python", ageing),
        "computing": Function("computing", computing),
        "computing-python": Function("computing-python", computing),
    }
    log = bytearray()
    node = stage.own_node(functions, "--log-level=info", on_log=log.extend)
    seconds = effort.of(0.3, 8, 40)

    def warm_up(url: str) -> None:
        connection.get(url)
        time.sleep(effort.of(0, 2, 2))

    yield [
        Entrant(name, partial(_measure, node.url(name), log, seconds), partial(warm_up, node.url(name)))
        for name in functions
    ]


WORK = Work(
    name="expiries",
    title="Requests around the end of a worker (p99) against all others",
    entrants=_entrants,
    targets=[
        Target("TypeScript, by age", "ratio", of="ageing", at_most=MOST_RATIO, unit="x"),
        Target("TypeScript, by CPU time", "ratio", of="computing", at_most=MOST_RATIO, unit="x"),
        Target("Python, by age", "ratio", of="ageing-python", at_most=MOST_RATIO, unit="x"),
        Target("Python, by CPU time", "ratio", of="computing-python", at_most=MOST_RATIO, unit="x"),
    ],
    rounds=(1, 1, 1),
    in_quick=False,
)
