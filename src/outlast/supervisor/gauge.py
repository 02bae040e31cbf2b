"""What one worker process uses, as the kernel tells it."""

import contextlib
import math
import os
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20
_STARTING_MS = 0.02
"""With less CPU time than this no process starts another, or fills memory worth measuring."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Gauge:
    """Reads the clocks and the memory of a process, and of what it has started if that is asked for.

    Nothing here raises: of a process that is gone, the last reading stays. Where the kernel does not tell (macOS has
    no /proc), everything reads 0.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._files = contextlib.ExitStack()
        self._statm = self._open("statm")
        self._stat = self._open("stat")
        self._thread_stat = self._open(f"task/{pid}/stat")
        self._thread_children = self._open(f"task/{pid}/children")
        self._cpu_ms = 0.0
        self._family_cpu_ms = 0.0
        self._alone_at_cpu_ms = -math.inf
        """Its CPU time when it was seen to have no descendants; less than 0 if it had some when last looked at."""
        self._memory_mb = 0.0

    def _open(self, name: str) -> int:
        try:
            descriptor = os.open(f"/proc/{self._pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1
        self._files.callback(os.close, descriptor)
        return descriptor

    def close(self) -> None:
        self._files.close()
        self._statm = self._stat = self._thread_stat = self._thread_children = -1

    def cpu_ms(self) -> float:
        """CPU time of all threads since the process began."""
        if self._statm >= 0:
            self._cpu_ms = _cpu_ms(self._pid) or self._cpu_ms
        return self._cpu_ms

    def memory_mb(self) -> float:
        """What is resident in memory."""
        if self._statm >= 0:
            with contextlib.suppress(OSError, IndexError):
                self._memory_mb = _resident_mb(os.pread(self._statm, 64, 0))
        return self._memory_mb

    def family(self) -> tuple[float, float]:
        """`cpu_ms` and `memory_mb` with all that descends from the process, as far as that still does or has been
        waited for; a page of memory that two of them share counts twice."""
        own_ms = cpu_ms = self.cpu_ms()
        if own_ms - self._alone_at_cpu_ms < _STARTING_MS:
            return self._family_cpu_ms, self._memory_mb
        memory_mb = self.memory_mb()
        descendants: list[int] = []
        if self._stat >= 0:
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = _fields(os.pread(self._stat, 1024, 0))
                cpu_ms += _waited_for_ms(fields)
                if _threads(fields) > 1 or os.pread(self._thread_children, 1, 0):
                    descendants = _descendants(self._pid)
        self._alone_at_cpu_ms = -math.inf if descendants else own_ms
        for pid in descendants:
            cpu_ms += _cpu_ms(pid)
            with contextlib.suppress(OSError, IndexError):
                memory_mb += _resident_mb(Path(f"/proc/{pid}/statm").read_bytes())
        # One that has just ended is counted by no clock until it has been waited for.
        self._family_cpu_ms = max(self._family_cpu_ms, cpu_ms)
        return self._family_cpu_ms, memory_mb

    def is_alone(self) -> bool:
        """Whether nothing descends from the process."""
        self.family()
        return self._alone_at_cpu_ms >= 0

    def is_running(self) -> bool:
        """Whether the first thread, which the event loop is on, has something to do at this moment."""
        if self._thread_stat < 0:
            return False
        try:
            return _fields(os.pread(self._thread_stat, 64, 0))[0] == b"R"
        except (OSError, IndexError):
            return False


def _cpu_ms(pid: int) -> float:
    """By the process's CPU clock (clock_getcpuclockid(3); its number is part of Linux's ABI)."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2) / 1e6
    except OSError:
        return 0.0


def _threads(fields: list[bytes]) -> int:
    return int(fields[17])


def _waited_for_ms(fields: list[bytes]) -> float:
    """CPU time of the children that have ended and been waited for, and of theirs."""
    return (int(fields[13]) + int(fields[14])) * 1000 / _TICKS_PER_S


def _fields(stat: bytes) -> list[bytes]:
    """Of proc_pid_stat(5), from the third on: the second, a name in parentheses, may hold any character."""
    return stat[stat.rfind(b")") + 2 :].split()


def _resident_mb(statm: bytes) -> float:
    return int(statm.split()[1]) * _PAGE / _MIB


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208, three times as fast
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                for child in map(int, file.read().split()):
                    found += [child, *_descendants(child)]
    return found
