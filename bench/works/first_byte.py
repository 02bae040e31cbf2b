"""How long a function that is not running takes to its first byte, where a worker stands by and where none does."""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from bench import connection, contenders
from bench.connection import PATIENCE_S, BenchError
from bench.project import Function
from bench.stage import Node, Stage, patiently
from bench.work import Effort, Entrant, Figures, Shown, Target, Work

REQUEST = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
NO_STANDBY = {"scale": {"standby": 0}}
DENO_RUN = "deno run"
FUNCTIONS = {
    "typescript-standby": Function("plain"),
    "typescript-none": Function("plain", NO_STANDBY),
    "python-standby": Function("plain-python"),
    "python-none": Function("plain-python", NO_STANDBY),
}
NAMES = {
    "typescript-standby": "Outlast, TypeScript, standby",
    "typescript-none": "Outlast, TypeScript",
    "python-standby": "Outlast, Python, standby",
    "python-none": "Outlast, Python",
}


def _first_byte_s(url: str) -> float:
    """From connecting to the first byte of a 200."""
    parts = urlsplit(url)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", parts.port), timeout=PATIENCE_S) as client:
        client.sendall(REQUEST % parts.path.encode())
        if not (answer := client.recv(64)).startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{url} answered {answer!r}")
    return time.perf_counter() - began


def _started_s(cache: str) -> float:
    """From starting Deno to the first byte, the script's compiled code being in its cache."""
    port = contenders.free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        contenders.deno_command("plain", port),
        env=contenders.deno_env(cache),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        while process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                _first_byte_s(f"http://127.0.0.1:{port}/")
                return time.perf_counter() - began
        raise BenchError("deno ended before it listened")
    finally:
        process.terminate()
        process.wait()


def _has_workers(node: Node, name: str, states: set[str]) -> bool:
    return {one["state"] for one in node.workers(name)} == states


def _measure(node: Node, name: str) -> Figures:
    # What the requests before have used goes, the other functions' too, and with it what it costs.
    for each in FUNCTIONS:
        states = {"standby"} if each.endswith("standby") else set()
        at_rest = partial(_has_workers, node, each, states)
        patiently(at_rest, f"{each} to have {states or 'no worker'}")
    time.sleep(0.1)
    return {"first_byte_ms": _first_byte_s(node.url(name)) * 1000}


@contextlib.contextmanager
def _entrants(stage: Stage, effort: Effort) -> Iterator[list[Entrant]]:
    # This policy starts a worker for each request.
    node = stage.own_node(FUNCTIONS, "--policy=oneshot")
    with tempfile.TemporaryDirectory() as cache:
        yield [
            *(
                Entrant(NAMES[name], partial(_measure, node, name), partial(connection.get, node.url(name)))
                for name in FUNCTIONS
            ),
            Entrant(DENO_RUN, lambda: {"first_byte_ms": _started_s(cache) * 1000}, lambda: _started_s(cache)),
        ]


WORK = Work(
    name="first-byte",
    title="First byte of a function that is not running",
    entrants=_entrants,
    targets=[
        Target("TypeScript, standby", "first_byte_ms", of=NAMES["typescript-standby"], at_most=6, unit="ms"),
        Target("TypeScript, no standby", "first_byte_ms", of=NAMES["typescript-none"], unit="ms"),
        Target("the same against deno run", "first_byte_ms", of=NAMES["typescript-none"], to=DENO_RUN, at_most=1.3),
        Target("Python, standby", "first_byte_ms", of=NAMES["python-standby"], at_most=5, unit="ms"),
        Target("Python, no standby", "first_byte_ms", of=NAMES["python-none"], at_most=15, unit="ms"),
    ],
    shown=Shown("first_byte_ms", "ms", "less"),
    rounds=(1, 6, 40),
)
