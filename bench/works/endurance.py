"""Whether the node grows with the requests that it has served, many workers being open."""

import contextlib
from collections.abc import Iterator

from bench import closed_loop, processes
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Target, Work
from bench.works.throughput import CONNECTIONS

# Without: twice as many processes would be up, and none of them would have anything to do with requests.
SETTINGS = NO_CPU_LIMITS | {"scale": {"standby": 0, "max_workers": 1}}
PIECES = 20


def _own(effort: Effort) -> dict[str, Function]:
    sources = ("later", "later-python")
    return {f"open-{number}": Function(sources[number % 2], SETTINGS) for number in range(effort.of(2, 50, 50))}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    requests = effort.of(200, 12_000, 1_000_000)
    functions = _own(effort)
    node = stage.own_node(functions)
    urls = [node.url(name) for name in functions]

    def ask(count: int) -> None:
        closed_loop.run(urls, connections=CONNECTIONS, requests=count)

    def measure() -> Figures:
        grown = [processes.resident_mb(node.pid)]
        for _ in range(PIECES):
            ask(requests // PIECES)
            grown.append(processes.resident_mb(node.pid))
        return {
            "grown_mb": grown[-1] - grown[0],
            "range_mb": max(grown) - min(grown),
            "node_mb": grown[-1],
            "requests": requests,
            "workers": sum(worker["state"] == "ready" for name in functions for worker in node.workers(name)),
        }

    # After so many, which take 100 s, the node has as many of the latest requests in memory as it keeps.
    yield [Entrant("node", measure, lambda: ask(effort.of(100, 8_000, 300_000)))]


WORK = Work(
    name="endurance",
    title="50 workers open, a million requests",
    entrants=_entrants,
    own=_own,
    targets=[
        Target("growth of the node after warm-up", "grown_mb", of="node", at_most=5, unit="MB"),
        Target("most and least that it had", "range_mb", of="node", unit="MB"),
        Target("resident memory of the node", "node_mb", of="node", unit="MB"),
        Target("requests", "requests", of="node"),
    ],
    rounds=(1, 1, 1),
)
