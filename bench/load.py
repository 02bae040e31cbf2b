"""Load from as many connections as are asked for, each of which asks again once it is answered, and what came of it."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from bench import closed_loop, open_loop
from bench.connection import BenchError

REPORT = Path(__file__).with_name("report.lua")
SHORTEST_OF_WRK_S = 1


@dataclass(frozen=True)
class Load:
    """One round of requests."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def generator(seconds: float) -> str:
    """What makes a load that lasts so long, in words."""
    if seconds < SHORTEST_OF_WRK_S:
        return "bench's own client"
    return "wrk" if shutil.which("wrk") else "bench's own client, since wrk is not installed (apt install wrk)"


def run(urls: Sequence[str], *, seconds: float, connections: int) -> Load:
    """Asks the addresses, all of one server, in turn. wrk makes the load where it is installed and there is a second.

    Raises BenchError, also when a single request failed: refusing work is no way to be fast.
    """
    wrk = shutil.which("wrk")
    if wrk is None or seconds < SHORTEST_OF_WRK_S:
        began = perf_counter()
        latencies = closed_loop.run(urls, connections=connections, seconds=seconds)
        return Load(
            requests_per_s=len(latencies) / (perf_counter() - began),
            p50_ms=open_loop.percentile(latencies, 50),
            p99_ms=open_loop.percentile(latencies, 99),
        )
    command = [wrk, "--threads=1", f"--connections={connections}", f"--duration={round(seconds)}s"]
    command += [f"--script={REPORT}", urls[0], "--"]
    if len(urls) > 1:
        command += [urlsplit(url).path for url in urls]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"wrk ended with exit code {done.returncode}: {done.stdout}{done.stderr}")
    counted = json.loads(done.stdout.splitlines()[-1])
    if counted["failed"] or not counted["requests"]:
        raise BenchError(f"{counted['failed']} of {counted['requests']} requests to {urls[0]} failed")
    return Load(
        requests_per_s=counted["requests"] / (counted["duration_us"] / 1e6),
        p50_ms=counted["p50_us"] / 1000,
        p99_ms=counted["p99_us"] / 1000,
    )
