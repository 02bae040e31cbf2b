"""What is measured: each is a server that runs for as long as its ``with`` block."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deno import find_deno_bin

from bench.connection import BenchError

HERE = Path(__file__).parent
PEERS = HERE / "peers"
"""What the peers serve."""
INSTALLED = Path(os.environ.get("BENCH_PEERS", HERE / ".peers"))
"""Where `bench/setup` has put those that are not installed with Outlast's tests."""


class NotInstalledError(BenchError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed: bench/setup")


@dataclass(frozen=True)
class Served:
    url: str
    pid: int
    admin_url: str
    token: str


@contextlib.contextmanager
def serving(project: Path, arguments: Sequence[str], on_log: Callable[[bytes], object]) -> Iterator[Served]:
    """Outlast, as installed, its log going to a pipe that is read, as under a service manager.

    ``on_log`` gets what is logged once it listens, in pieces and in another thread.
    """
    token = secrets.token_hex()
    command = [
        sys.executable,
        "-m",
        "outlast",
        "serve",
        str(project),
        "--port=0",
        "--admin-port=0",
        "--log-format=json",
    ]
    with _running([*command, *arguments], {**os.environ, "OUTLAST_ADMIN_TOKEN": token}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                with _drained(process, on_log):
                    yield Served(event["url"], process.pid, event["admin_url"], token)
                return
    raise BenchError("outlast ended before it listened")


@contextlib.contextmanager
def deno(work: str, on_start: Callable[[int], object] = lambda pid: None) -> Iterator[str]:
    """``Deno.serve`` by itself: one process, one event loop."""
    with tempfile.TemporaryDirectory() as cache, _running(deno_command(work), deno_env(cache)) as process:
        on_start(process.pid)
        yield _address(process, "deno")


def deno_command(work: str, port: int = 0) -> list[str]:
    script = str(PEERS / "deno.ts")
    return [find_deno_bin(), "run", "--quiet", "--no-config", "--allow-net", script, work, str(port)]


def deno_env(cache: str) -> dict[str, str]:
    return {**os.environ, "DENO_DIR": cache, "DENO_NO_UPDATE_CHECK": "1"}


@contextlib.contextmanager
def workerd(work: str) -> Iterator[str]:
    """As it comes: all requests in one isolate, in one thread."""
    found = [*INSTALLED.glob("node_modules/@cloudflare/workerd-*/bin/workerd")]
    if not found:
        raise NotInstalledError("workerd")
    port = free_port()
    command = [str(found[0]), "serve", str(PEERS / "workerd.capnp"), work, f"--socket-addr=http=127.0.0.1:{port}"]
    with _running(command) as process:
        yield _listening_address(port, process)


@contextlib.contextmanager
def edge_runtime(work: str) -> Iterator[str]:
    """Its own server, without the log of requests that its command line writes: one Node.js process."""
    node = shutil.which("node")
    if node is None or not (INSTALLED / "node_modules" / "edge-runtime").is_dir():
        raise NotInstalledError("edge-runtime")
    command = [node, str(PEERS / "edge_runtime.cjs"), work]
    with _running(command, {**os.environ, "NODE_PATH": str(INSTALLED / "node_modules")}) as process:
        yield _address(process, "edge-runtime")


@contextlib.contextmanager
def uvicorn(
    application: str, python: str = sys.executable, on_start: Callable[[int], object] = lambda pid: None
) -> Iterator[str]:
    """Runs an application of a module of ``peers`` in one process, with uvloop and httptools."""
    # With --fd it would take the socket for a Unix one and leave Nagle's algorithm on: 40 ms for each answer.
    port = free_port()
    command = [python, "-m", "uvicorn", f"--app-dir={PEERS}", "--log-level=warning", "--no-access-log"]
    command += ["--loop=uvloop", "--http=httptools", "--lifespan=off", f"--port={port}", application]
    with _running(command) as process:
        on_start(process.pid)
        yield _listening_address(port, process)


@contextlib.contextmanager
def fastapi(work: str) -> Iterator[str]:
    """Its ``BackgroundTasks``, on uvicorn."""
    with uvicorn(f"fastapi_apps:{work}", _python("fastapi")) as url:
        yield url


@contextlib.contextmanager
def functions_framework(work: str) -> Iterator[str]:
    """As it comes: gunicorn with one process and four threads for each CPU."""
    python = _python("functions_framework")
    port = free_port()
    command = [str(Path(python).with_name("functions-framework")), f"--source={PEERS / 'gcf_functions.py'}"]
    command += [f"--target={work}", "--host=127.0.0.1", f"--port={port}"]
    with _running(command) as process:
        yield _listening_address(port, process)


def _python(package: str) -> str:
    if not [*INSTALLED.glob(f"venv/lib/*/site-packages/{package}")]:
        raise NotInstalledError(package.replace("_", "-"))
    return str(INSTALLED / "venv" / "bin" / "python")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return int(reserved.getsockname()[1])


def _listening_address(port: int, process: subprocess.Popen[bytes]) -> str:
    """Waits until it can be reached."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return f"http://127.0.0.1:{port}/"
    raise BenchError(f"{process.args!r} ended before it listened")


def _address(process: subprocess.Popen[bytes], name: str) -> str:
    """What the server prints once it listens."""
    assert process.stdout is not None
    url = process.stdout.readline().decode().strip()
    if not url:
        raise BenchError(f"{name} ended before it listened")
    return url


@contextlib.contextmanager
def _running(command: Sequence[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, like a service: Linux divides the CPUs among sessions first, and what the client computes
    # would count as the server's.
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _drained(process: subprocess.Popen[bytes], on_data: Callable[[bytes], object]) -> Iterator[None]:
    """Reads what the process writes, cheaply: a full pipe would stop it."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()

    def drain() -> None:
        while data := os.read(descriptor, 1 << 20):
            on_data(data)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        process.terminate()
        thread.join()
