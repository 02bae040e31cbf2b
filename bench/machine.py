"""Where the figures come from."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from deno import find_deno_bin


def describe() -> dict[str, str | int | float]:
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(meminfo["MemTotal"].split()[0]) / 2**20, 1),
        "system": platform.platform(),
        # Which one: built with profile-guided optimisation, it needs a tenth less for the same request.
        "python": f"{platform.python_version()} ({Path(sys.executable).resolve()})",
        "deno": _first_line([find_deno_bin(), "--version"]),
        "outlast": version("outlast"),
        "commit": _first_line(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]),
        "busy_before": round(os.getloadavg()[0], 2),
    }


def stolen_percent() -> Callable[[], float]:
    """Call what it returns to learn how much of the CPU time since then the host gave to others ("steal", proc(5))."""
    began, stolen_before = _cpu_ticks()

    def so_far() -> float:
        now, stolen = _cpu_ticks()
        return 100 * (stolen - stolen_before) / max(now - began, 1)

    return so_far


def _cpu_ticks() -> tuple[int, int]:
    """All of them, and those that were stolen."""
    ticks = [int(count) for count in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]
    except OSError:
        return ""
