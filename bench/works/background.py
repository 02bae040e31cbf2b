"""How long callers wait while each request leaves 20 ms of computing behind.

A server with one event loop lets the next request wait for it: they come 25 ms apart, and 15 ms after each its
computing begins. At random moments, as from callers who do not know of each other, both CPUs are taken at times.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache, partial

from deno import find_deno_bin

from bench import contenders, open_loop
from bench.project import Function
from bench.stage import Entrance, Stage
from bench.work import Effort, Entrant, Figures, Shown, Target, Work
from bench.works.throughput import DENO, EDGE_RUNTIME, FASTAPI, FUNCTIONS_FRAMEWORK, OUTLAST, UVICORN, WORKERD

RATE = 40
MOST_P99_MS = 5.0
BURNT_MS = 20


@cache
def _steps() -> int:
    """How many of them take V8 20 ms, for workerd, whose functions see no time pass while they compute."""
    script = f"""
        async function work(steps) {{ await null; for (let step = 0; step < steps; step++); }}
        const took = [];
        for (let i = 0; i < 31; i++) {{
          const began = performance.now(); await work(1e7); took.push(performance.now() - began);
        }}
        console.log(Math.round(1e7 * {BURNT_MS} / took.sort((a, b) => a - b)[15]));
    """
    done = subprocess.run([find_deno_bin(), "eval", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _measure(url: str, seconds: float, also_at_random: bool) -> Figures:
    latencies = [answer.latency_ms for answer in open_loop.measure(url, open_loop.evenly(RATE), seconds)]
    figures = {"p50_ms": open_loop.percentile(latencies, 50), "p99_ms": open_loop.percentile(latencies, 99)}
    if also_at_random:
        # The same moments for each.
        latencies = [answer.latency_ms for answer in open_loop.measure(url, open_loop.randomly(RATE, 1), seconds)]
        figures["random_p50_ms"] = open_loop.percentile(latencies, 50)
        figures["random_p99_ms"] = open_loop.percentile(latencies, 99)
    return figures


def _work(language: str, function: str, entrances: Mapping[str, Entrance]) -> Work:
    @contextlib.contextmanager
    def entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
        urls = {OUTLAST: stage.node.url(function)} | stage.peers(entrances)
        if WORKERD in urls:
            urls[WORKERD] += f"?steps={_steps()}"
        yield [
            Entrant(
                name,
                partial(_measure, url, effort.of(0.1, 2, 15), effort is not Effort.QUICK),
                partial(_measure, url, effort.of(0.05, 0.7, 3), False),
            )
            for name, url in urls.items()
        ]

    return Work(
        name=f"background-{language.lower()}",
        title=f"{RATE} requests/s, {language}, each leaving {BURNT_MS} ms of CPU in the background",
        entrants=entrants,
        targets=[
            Target("p50", "p50_ms", of=OUTLAST, unit="ms"),
            Target("p99", "p99_ms", of=OUTLAST, at_most=MOST_P99_MS, unit="ms"),
            Target("p99 against the best peer", "p99_ms", of=OUTLAST, to=tuple(entrances), at_most=1),
            Target("p99, at random moments (full run)", "random_p99_ms", of=OUTLAST, unit="ms"),
            Target("the same against the best peer", "random_p99_ms", of=OUTLAST, to=tuple(entrances)),
        ],
        shown=Shown("p99_ms", "ms", "less"),
        functions={function: Function(function)},
        rounds=(1, 2, 3),
    )


TYPESCRIPT = _work(
    "TypeScript",
    "burning",
    {
        DENO: lambda: contenders.deno("burning"),
        WORKERD: lambda: contenders.workerd("burning"),
        EDGE_RUNTIME: lambda: contenders.edge_runtime("burning"),
    },
)
PYTHON = _work(
    "Python",
    "burning-python",
    {
        UVICORN: lambda: contenders.uvicorn("asgi:burning"),
        FASTAPI: lambda: contenders.fastapi("burning"),
        FUNCTIONS_FRAMEWORK: lambda: contenders.functions_framework("burning"),
    },
)
