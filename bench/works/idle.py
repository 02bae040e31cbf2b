"""What a node computes that has nothing to do, with one idle worker in each language and its ledger in PostgreSQL."""

import contextlib
import time
from collections.abc import Iterator

from bench import connection, processes
from bench.project import Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Target, Work

FUNCTIONS = {"idle": Function("plain"), "idle-python": Function("plain-python")}
NODE = "the node's own process"
ALL = "with all that it has started"


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    node = stage.own_node(FUNCTIONS)
    for name in FUNCTIONS:
        connection.get(node.url(name))
    # Workers that have just been busy are looked at more often, and those on standby are still starting.
    time.sleep(effort.of(0, 3, 5))
    seconds = effort.of(0.05, 3, 20)

    def measure(pids: list[int]) -> Figures:
        return {"percent": processes.cpu_share(pids, seconds) * 100}

    yield [
        Entrant(NODE, lambda: measure([node.pid])),
        Entrant(ALL, lambda: measure(processes.tree(node.pid))),
    ]


WORK = Work(
    name="idle",
    title="An idle node",
    entrants=_entrants,
    own=lambda effort: FUNCTIONS,
    targets=[
        Target(NODE, "percent", of=NODE, at_most=0.5, unit="% of a core"),
        Target(ALL, "percent", of=ALL, unit="% of a core"),
    ],
    rounds=(1, 1, 3),
)
