"""What it costs the node to look after workers that do nothing, or wait."""

import contextlib
import time
from collections.abc import Iterator

from bench import connection, processes
from bench.project import Function
from bench.stage import Node, Stage
from bench.work import Effort, Entrant, Figures, Target, Work

WAITING = Function("waiting-python", {"scale": {"standby": 0}})


def _own(effort: Effort) -> dict[str, Function]:
    return {f"waiting-{number}": WAITING for number in range(effort.of(3, 100, 100))}


def _measure(node: Node, functions: list[str], effort: Effort) -> Figures:
    def percent() -> float:
        # Workers that have just been busy are looked at more often.
        time.sleep(effort.of(0, 3, 3))
        return processes.cpu_share([node.pid], effort.of(0.05, 4, 20)) * 100

    none = percent()
    for name in functions:
        connection.get(node.url(name))
    idle = percent()
    for name in functions:
        connection.get(f"{node.url(name)}?task")
    waiting = percent()
    return {"none": none, "idle": idle - none, "waiting": waiting - none, "workers": len(functions)}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    functions = _own(effort)
    node = stage.own_node(functions)
    yield [Entrant("node", lambda: _measure(node, [*functions], effort))]


WORK = Work(
    name="metering",
    title="Looking after 100 workers, beyond what an idle node computes",
    entrants=_entrants,
    own=_own,
    targets=[
        Target("idle", "idle", of="node", at_most=1, unit="% of a core"),
        Target("each with a task open", "waiting", of="node", at_most=1, unit="% of a core"),
    ],
    rounds=(1, 1, 1),
    in_quick=False,
)
