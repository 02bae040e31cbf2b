"""What an idle worker holds in memory that is its alone."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from bench import connection, contenders, processes
from bench.connection import BenchError
from bench.project import Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Shown, Target, Work

FUNCTIONS = {"idle": Function("plain"), "idle-python": Function("plain-python")}
NAMES = {"idle": "Outlast, TypeScript", "idle-python": "Outlast, Python"}
DENO = "bare Deno"
UVICORN = "bare ASGI, uvicorn"


def _measure(pid: int) -> Figures:
    return {"private_mb": processes.private_mb(pid), "resident_mb": processes.resident_mb(pid)}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    pids: dict[str, int] = {}
    peers = {
        DENO: lambda: contenders.deno("plain", on_start=lambda pid: pids.update({DENO: pid})),
        UVICORN: lambda: contenders.uvicorn("asgi:plain", on_start=lambda pid: pids.update({UVICORN: pid})),
    }
    for url in stage.peers(peers).values():
        connection.get(url)
    for name in FUNCTIONS:
        connection.get(stage.node.url(name))
        ready = [worker["pid"] for worker in stage.node.workers(name) if worker["state"] == "ready"]
        if len(ready) != 1:
            raise BenchError(f"{name} has {len(ready)} workers")
        pids[NAMES[name]] = ready[0]
    time.sleep(effort.of(0, 1, 5))

    yield [Entrant(name, partial(_measure, pid)) for name, pid in pids.items()]


WORK = Work(
    name="memory",
    title="Private memory of an idle worker",
    entrants=_entrants,
    targets=[
        Target("TypeScript", "private_mb", of=NAMES["idle"], unit="MB"),
        Target("the same against a bare Deno process", "private_mb", of=NAMES["idle"], to=DENO, at_most=1.1),
        Target("Python", "private_mb", of=NAMES["idle-python"], at_most=8, unit="MB"),
        Target("the same against bare ASGI on uvicorn", "private_mb", of=NAMES["idle-python"], to=UVICORN),
    ],
    shown=Shown("private_mb", "MB", "less"),
    functions=FUNCTIONS,
    rounds=(1, 1, 3),
)
