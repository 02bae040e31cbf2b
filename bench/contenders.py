"""What is measured: each is a server that runs for as long as its ``with`` block."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deno import find_deno_bin

from bench.load import BenchError

HERE = Path(__file__).parent


@contextlib.contextmanager
def outlast(
    function: str,
    arguments: Sequence[str] = (),
    project: Path = HERE / "project",
    on_log: Callable[[bytes], object] = lambda data: None,
    on_start: Callable[[int], object] = lambda pid: None,
    on_ready: Callable[[dict[str, str]], object] = lambda event: None,
) -> Iterator[str]:
    """Serves ``project`` as installed, its log going to a pipe that is read, as under a service manager.

    ``on_log`` gets what is logged once it listens, in pieces and in another thread; ``on_start`` its process id;
    ``on_ready`` what it says when it listens.
    """
    command = [sys.executable, "-m", "outlast", "serve", str(project), "--port=0", "--log-format=json"]
    with _running([*command, *arguments]) as process:
        assert process.stdout is not None
        on_start(process.pid)
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                on_ready(event)
                with _drained(process, on_log):
                    yield f"{event['url']}/functions/v1/{function}"
                return
    raise BenchError("outlast ended before it listened")


@contextlib.contextmanager
def deno(script: str) -> Iterator[str]:
    """Runs a script of this folder, which prints its address."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "DENO_DIR": cache, "DENO_NO_UPDATE_CHECK": "1"}
        command = [find_deno_bin(), "run", "--quiet", "--no-config", "--allow-net", str(HERE / script)]
        with _running(command, env) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            if not url:
                raise BenchError(f"{script} ended before it listened")
            yield url


@contextlib.contextmanager
def uvicorn(module: str) -> Iterator[str]:
    """Runs ``app`` of a module of this folder, as a server of its own would."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "uvicorn", f"--app-dir={HERE}", "--log-level=warning", "--no-access-log"]
        command += [f"--fd={listening.fileno()}", f"{module}:app"]
        os.set_inheritable(listening.fileno(), True)
        with _running(command, pass_fds=[listening.fileno()]):
            # It listens already: whoever asks waits until it serves.
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


@contextlib.contextmanager
def _running(
    command: Sequence[str], env: dict[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=env, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
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
