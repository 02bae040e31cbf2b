"""Whether functions that nobody calls cost those that are called anything."""

import contextlib
from collections.abc import Iterator

from bench import connection, load, processes
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Node, Stage
from bench.work import Effort, Entrant, Figures, Target, Work
from bench.works.throughput import CONNECTIONS

USED = {name: Function(name, NO_CPU_LIMITS) for name in ("later", "later-python")}


def _own(effort: Effort) -> dict[str, Function]:
    count = effort.of(10, 200, 200)
    sources = ("later", "later-python")
    return USED | {f"unused-{number}": Function(sources[number % 2]) for number in range(count - len(USED))}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    def entrant(name: str, node: Node) -> Entrant:
        urls = [node.url(used) for used in USED]

        def measure() -> Figures:
            one = load.run(urls, seconds=effort.of(0.05, 1, 8), connections=CONNECTIONS)
            return {"requests_per_s": one.requests_per_s, "node_mb": processes.resident_mb(node.pid)}

        def warm_up() -> None:
            for url in urls:
                # All functions are prepared at first, which can take longer than the load lasts.
                connection.get(url)
            load.run(urls, seconds=effort.of(0.01, 0.9, 3), connections=CONNECTIONS)

        return Entrant(name, measure, warm_up)

    yield [
        entrant("many known", stage.own_node(_own(effort))),
        entrant("2 known", stage.own_node(USED)),
    ]


WORK = Work(
    name="many-functions",
    title="200 functions known, 2 of them in use",
    entrants=_entrants,
    own=_own,
    targets=[
        Target("throughput against 2 known", "requests_per_s", of="many known", to="2 known", at_least=0.97),
        Target("resident memory of the node", "node_mb", of="many known", at_most=80, unit="MB"),
        Target("the same with 2 known", "node_mb", of="2 known", unit="MB"),
    ],
)
