"""How fast a large body comes through a function, and what the node holds of it meanwhile."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from bench import contenders, processes
from bench.connection import PATIENCE_S, BenchError
from bench.project import NO_CPU_LIMITS, Function
from bench.stage import Entrance, Stage
from bench.work import Effort, Entrant, Figures, Shown, Target, Work
from bench.works.throughput import DENO, UVICORN

FUNCTIONS = {name: Function(name, NO_CPU_LIMITS) for name in ("streaming", "streaming-python")}
NAMES = {"streaming": "Outlast, TypeScript", "streaming-python": "Outlast, Python"}
SAMPLE_S = 0.05


def _receive(url: str, mib: int) -> Figures:
    parts = urlsplit(url)
    buffer = bytearray(1 << 18)
    received = 0
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", parts.port), timeout=PATIENCE_S) as client:
        client.sendall(f"GET {parts.path}?mib={mib} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while length := client.recv_into(buffer):
            received += length
    took = time.perf_counter() - began
    if received < mib << 20:
        raise BenchError(f"{url} sent {received} bytes instead of {mib} MiB")
    return {"mib_per_s": mib / took, "mib": mib}


def _receive_beside(pid: int, url: str, mib: int) -> Figures:
    """The same, with how much the process grows meanwhile."""
    before = processes.resident_mb(pid)
    most = [before]
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_S):
            most.append(processes.resident_mb(pid))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        figures = _receive(url, mib)
    finally:
        done.set()
        watching.join()
    return {**figures, "node_grown_mb": max(most) - before}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    mib = effort.of(2, 128, 1024)
    entrances: dict[str, Entrance] = {
        DENO: lambda: contenders.deno("streaming"),
        UVICORN: lambda: contenders.uvicorn("asgi:streaming"),
    }
    entrants = []
    for function, name in NAMES.items():
        measure = partial(_receive_beside, stage.node.pid, stage.node.url(function))
        entrants.append(Entrant(name, partial(measure, mib), partial(measure, effort.of(1, 32, 256))))
    for name, url in stage.peers(entrances).items():
        entrants.append(Entrant(name, partial(_receive, url, mib), partial(_receive, url, effort.of(1, 32, 256))))
    yield entrants


WORK = Work(
    name="streaming",
    title="1 GiB streamed through a function",
    entrants=_entrants,
    targets=[
        Target("length of the body", "mib", of=NAMES["streaming"], unit="MiB"),
        Target("TypeScript", "mib_per_s", of=NAMES["streaming"], unit="MiB/s"),
        Target("the same against bare Deno", "mib_per_s", of=NAMES["streaming"], to=DENO, at_least=0.5),
        Target("growth of the node meanwhile", "node_grown_mb", of=NAMES["streaming"], at_most=5, unit="MB"),
        Target("Python", "mib_per_s", of=NAMES["streaming-python"], unit="MiB/s"),
        Target("the same against bare ASGI on uvicorn", "mib_per_s", of=NAMES["streaming-python"], to=UVICORN),
        Target(
            "growth of the node meanwhile, Python", "node_grown_mb", of=NAMES["streaming-python"], at_most=5, unit="MB"
        ),
    ],
    shown=Shown("mib_per_s", "MiB/s", "more"),
    functions=FUNCTIONS,
    rounds=(1, 2, 3),
)
