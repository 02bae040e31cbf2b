"""What processes use, as the kernel counts it (proc(5))."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


def private_mb(pid: int) -> float:
    """What would be free without it: the pages that it shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may hold spaces.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children[parent].append(int(folder.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def cpu_s(pids: Iterable[int]) -> dict[int, float]:
    """The CPU time of each that is still there, to the nanosecond (clock_getcpuclockid(3))."""
    found = {}
    for pid in pids:
        try:
            found[pid] = time.clock_gettime(~pid << 3 | 2)
        except OSError:
            continue
    return found


def cpu_share(pids: Iterable[int], seconds: float) -> float:
    """Of one CPU, what these use in the time to come."""
    before, began = cpu_s(pids), time.monotonic()
    time.sleep(seconds)
    after, took = cpu_s(before), time.monotonic() - began
    return sum(after[pid] - before[pid] for pid in after) / took
