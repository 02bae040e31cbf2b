"""How many requests a second, each with one background task of 10 ms."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

from bench import contenders, load
from bench.connection import BenchError
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Shown, Target, Work

CONNECTIONS = 32
OUTLAST = "Outlast"
DEFAULT_LIMITS = "Outlast, default limits"
NO_LEDGER = "Outlast, --database off"
DENO = "Deno.serve"
WORKERD = "workerd"
EDGE_RUNTIME = "edge-runtime"
UVICORN = "bare ASGI, uvicorn"
FASTAPI = "FastAPI"
FUNCTIONS_FRAMEWORK = "functions-framework"


def seconds(effort: Effort) -> float:
    """Of a round."""
    return effort.of(0.05, 1, 8)


def _measure(url: str, effort: Effort) -> Figures:
    return asdict(load.run([url], seconds=seconds(effort), connections=CONNECTIONS))


def _warm_up(url: str, effort: Effort) -> None:
    load.run([url], seconds=effort.of(0.01, 0.9, 3), connections=CONNECTIONS)


def _work(
    language: str,
    function: str,
    peers: dict[str, Callable[[str], contextlib.AbstractContextManager[str]]],
    targets: list[Target],
) -> Work:
    limited = f"{function}-default-limits"
    served = {function: Function(function, NO_CPU_LIMITS)}

    @contextlib.contextmanager
    def entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
        others = stage.peers({name: partial(peer, "later") for name, peer in peers.items()})
        urls = {OUTLAST: stage.node.url(function), DEFAULT_LIMITS: stage.node.url(limited)}
        if effort is not Effort.SMOKE:
            urls[NO_LEDGER] = stage.own_node(served, "--database=off").url(function)
        yield [
            Entrant(name, partial(_measure, url, effort), partial(_warm_up, url, effort))
            for name, url in (urls | others).items()
        ]
        if dropped := stage.node.dropped_records():
            raise BenchError(f"{dropped} tasks were not recorded: to forget them is no way to be fast")

    return Work(
        name=f"throughput-{language.lower()}",
        title=f"Warm throughput, {language}, one 10 ms task a request, {CONNECTIONS} connections",
        entrants=entrants,
        targets=[
            Target("requests/s", "requests_per_s", of=OUTLAST),
            *targets,
            Target("default limits against none", "requests_per_s", of=DEFAULT_LIMITS, to=OUTLAST, at_least=0.85),
            Target("ledger in PostgreSQL against none kept", "requests_per_s", of=OUTLAST, to=NO_LEDGER, at_least=0.9),
        ],
        shown=Shown("requests_per_s", "", "more"),
        functions=served | {limited: Function(function)},
    )


TYPESCRIPT = _work(
    "TypeScript",
    "later",
    {DENO: contenders.deno, WORKERD: contenders.workerd, EDGE_RUNTIME: contenders.edge_runtime},
    [
        Target("against bare Deno.serve", "requests_per_s", of=OUTLAST, to=DENO, at_least=0.45),
        Target("against workerd", "requests_per_s", of=OUTLAST, to=WORKERD, at_least=3.5),
        Target("against edge-runtime", "requests_per_s", of=OUTLAST, to=EDGE_RUNTIME),
    ],
)
PYTHON = _work(
    "Python",
    "later-python",
    {
        UVICORN: lambda work: contenders.uvicorn(f"asgi:{work}"),
        FASTAPI: contenders.fastapi,
        FUNCTIONS_FRAMEWORK: contenders.functions_framework,
    },
    [
        Target("against bare ASGI on uvicorn", "requests_per_s", of=OUTLAST, to=UVICORN, at_least=0.8),
        Target("against FastAPI BackgroundTasks", "requests_per_s", of=OUTLAST, to=FASTAPI, at_least=4),
        Target("against functions-framework", "requests_per_s", of=OUTLAST, to=FUNCTIONS_FRAMEWORK),
    ],
)
