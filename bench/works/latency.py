"""How long requests take while a server has half of the load that Outlast can bear."""

import contextlib
from collections.abc import Iterator
from functools import partial

from bench import closed_loop, contenders, open_loop
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Entrance, Stage
from bench.work import Effort, Entrant, Figures, Shown, Target, Work
from bench.works.throughput import CONNECTIONS, DENO, OUTLAST, UVICORN

SHARE = 0.5


def _measure(url: str, rate: float, seconds: float) -> Figures:
    answers = open_loop.measure(url, open_loop.evenly(rate), seconds, CONNECTIONS)
    latencies = [answer.latency_ms for answer in answers]
    return {
        "p50_ms": open_loop.percentile(latencies, 50),
        "p99_ms": open_loop.percentile(latencies, 99),
        "rate": rate,
    }


def _work(language: str, function: str, peer: str, entrance: Entrance, most: float | None) -> Work:
    @contextlib.contextmanager
    def entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
        urls = {OUTLAST: stage.node.url(function)} | stage.peers({peer: entrance})
        # By the client that measures, which takes more of the CPUs than wrk does. The last run counts, all being warm.
        seconds = effort.of(0.05, 1, 3)
        for url in (*urls.values(), urls[OUTLAST]):
            able = len(closed_loop.run([url], connections=CONNECTIONS, seconds=seconds)) / seconds
        yield [
            Entrant(name, partial(_measure, url, able * SHARE, effort.of(0.1, 1.2, 10))) for name, url in urls.items()
        ]

    return Work(
        name=f"latency-{language.lower()}",
        title=f"Latency, {language}, at half of what Outlast can do, requests at fixed moments",
        entrants=entrants,
        targets=[
            Target("p50", "p50_ms", of=OUTLAST, unit="ms"),
            Target("p99", "p99_ms", of=OUTLAST, unit="ms"),
            Target(f"p50 against {peer}", "p50_ms", of=OUTLAST, to=peer),
            Target(f"p99 against {peer}", "p99_ms", of=OUTLAST, to=peer, at_most=most),
        ],
        shown=Shown("p99_ms", "ms", "less"),
        functions={function: Function(function, NO_CPU_LIMITS)},
    )


TYPESCRIPT = _work("TypeScript", "later", DENO, lambda: contenders.deno("later"), 2)
PYTHON = _work("Python", "later-python", UVICORN, lambda: contenders.uvicorn("asgi:later"), None)
