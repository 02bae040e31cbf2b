"""Load from wrk, and what it measured."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPORT = Path(__file__).with_name("report.lua")


class BenchError(Exception):
    """The measurement cannot be made, or means nothing."""


@dataclass(frozen=True)
class Load:
    """One round of requests against one address."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def run(url: str, *, seconds: int, connections: int) -> Load:
    """Raises BenchError, also when a single request failed: refusing work is no way to be fast."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise BenchError("wrk makes the load, and is not installed: apt install wrk")
    command = [wrk, "--threads=1", f"--connections={connections}", f"--duration={seconds}s", f"--script={REPORT}", url]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"wrk ended with exit code {done.returncode}: {done.stdout}{done.stderr}")
    counted = json.loads(done.stdout.splitlines()[-1])
    if counted["failed"] or not counted["requests"]:
        raise BenchError(f"{counted['failed']} of {counted['requests']} requests to {url} failed")
    return Load(
        requests_per_s=counted["requests"] / (counted["duration_us"] / 1e6),
        p50_ms=counted["p50_us"] / 1000,
        p99_ms=counted["p99_us"] / 1000,
    )
