"""``python -m bench.cold_start``: how long a Python function that is not running takes to its first byte, and what an
idle worker holds in memory. The peer is uvicorn, started as a process with the same application.
"""

import argparse
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench import contenders
from bench.load import BenchError

FOLDER = Path(__file__).parent / "project" / "supabase" / "functions" / "cold"
REQUEST = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
PATIENCE_S = 30.0
MOST_RATIO = 0.2
MOST_PRIVATE_MB = 10.0


def main() -> int:
    """Returns the exit code: 1 when a figure is worse than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start")
    parser.add_argument("--rounds", type=int, default=10, help="of each side, in turns (default: %(default)s)")
    rounds = parser.parse_args().rounds
    # This policy starts a worker for each request.
    with contenders.outlast("cold", ["--policy=oneshot"]) as url:
        address = urlsplit(url)
        _first_byte(address.port, address.path)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(_first_byte(address.port, address.path))
            theirs.append(_uvicorn())
    ratio = median(ours) / median(theirs)
    print(f"first byte: outlast {_ms(ours)}, uvicorn as a process {_ms(theirs)}")
    print(f"  ratio {ratio:.3f}, wanted: {MOST_RATIO} or less")
    with contenders.outlast("cold") as url:
        address = urlsplit(url)
        _first_byte(address.port, address.path)
        private_mb = _private_mb()
    print(f"private memory of an idle worker: {private_mb:.1f} MB, wanted: less than {MOST_PRIVATE_MB}")
    return int(ratio > MOST_RATIO or private_mb >= MOST_PRIVATE_MB)


def _ms(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.1f} ms ({min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f})"


def _first_byte(port: int | None, path: str) -> float:
    """Seconds from connecting to the first byte of a 200."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(REQUEST % path.encode())
        if not (answer := connection.recv(64)).startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{path} answered {answer!r}")
    return time.perf_counter() - began


def _uvicorn() -> float:
    """Seconds from starting the process to the first byte."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        f"--app-dir={FOLDER}",
        "--log-level=warning",
        f"--port={port}",
        "main:app",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while time.perf_counter() - began < PATIENCE_S:
            try:
                _first_byte(port, "/")
            except ConnectionRefusedError:
                continue
            return time.perf_counter() - began
        raise BenchError("uvicorn did not start")
    finally:
        process.terminate()
        process.wait()


def _private_mb() -> float:
    """Of the worker, which is known by the folder it works in (proc(5): smaps_rollup)."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == FOLDER:
                lines = (process / "smaps_rollup").read_text().splitlines()
                return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
        except OSError:
            # It ended meanwhile, or is somebody else's.
            continue
    raise BenchError("no worker runs")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
