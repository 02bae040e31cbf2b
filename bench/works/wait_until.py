"""What keeping a task costs the function that calls ``waitUntil``, against leaving the task to itself."""

import contextlib
import json
from collections.abc import Iterator
from functools import partial

from bench import connection
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Target, Work

SOURCES = {"typescript": "keeping", "python": "keeping-python"}


def _measure(url: str) -> Figures:
    figures: dict[str, float] = json.loads(connection.get(url).text)
    return figures


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    yield [
        Entrant(language, partial(_measure, url), partial(_measure, url))
        for language, url in ((language, stage.node.url(source)) for language, source in SOURCES.items())
    ]


WORK = Work(
    name="wait-until",
    title="Cost of waitUntil itself, for each task",
    entrants=_entrants,
    targets=[
        Target("TypeScript, the call", "call_us", of="typescript", at_most=3, unit="us"),
        Target("TypeScript, until it has settled and is reported", "task_us", of="typescript", unit="us"),
        Target("Python, the call", "call_us", of="python", at_most=5, unit="us"),
        Target("Python, until it has settled and is reported", "task_us", of="python", unit="us"),
    ],
    functions={source: Function(source, NO_CPU_LIMITS) for source in SOURCES.values()},
    rounds=(1, 3, 20),
)
