"""What one worker process uses, as the kernel tells it."""

import contextlib
import os
import sys
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20


class Gauge:
    """Reads the clocks and the memory of a process and of what it has started.

    Nothing here raises: of a process that is gone, the last reading stays. Where the kernel does not tell (macOS has
    no /proc), everything reads 0.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # The process's CPU clock, of all its threads (clock_getcpuclockid(3); its layout is part of Linux's ABI).
        self._clock = ~pid << 3 | 2
        self._files = contextlib.ExitStack()
        self._statm = self._open(f"/proc/{pid}/statm")
        self._stat = self._open(f"/proc/{pid}/task/{pid}/stat")
        self._threads = f"/proc/{pid}/task"
        self._cpu_ms = 0.0
        self._memory_mb = 0.0

    def _open(self, path: str) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1
        self._files.callback(os.close, descriptor)
        return descriptor

    def close(self) -> None:
        self._files.close()
        self._statm = self._stat = -1

    def cpu_ms(self) -> float:
        """CPU time of all threads since the process began."""
        if self._statm >= 0:
            with contextlib.suppress(OSError):
                self._cpu_ms = time.clock_gettime_ns(self._clock) / 1e6
        return self._cpu_ms

    def memory_mb(self) -> float:
        """What is resident in memory."""
        if self._statm >= 0:
            with contextlib.suppress(OSError, IndexError):
                self._memory_mb = int(os.pread(self._statm, 64, 0).split()[1]) * _PAGE / _MIB
        return self._memory_mb

    def family_memory_mb(self) -> float:
        """The same with all that descends from it; a page that two of them share counts twice."""
        own = self.memory_mb()
        return own + sum(map(_resident_mb, _descendants(self._threads))) if self._statm >= 0 else own

    def is_running(self) -> bool:
        """Whether the first thread, which the event loop is on, has something to do at this moment."""
        if self._stat < 0:
            return False
        try:
            line = os.pread(self._stat, 64, 0)
        except OSError:
            return False
        # proc_pid_stat(5): the state follows the name, which is in parentheses and may hold any character.
        return line[line.rfind(b")") + 2 : line.rfind(b")") + 3] == b"R"


def _descendants(threads: str) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(threads):  # noqa: PTH208, three times as fast
            with open(f"{threads}/{thread}/children", "rb") as file:  # noqa: PTH123
                for child in map(int, file.read().split()):
                    found += [child, *_descendants(f"/proc/{child}/task")]
    return found


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE / _MIB
    except (OSError, IndexError):
        return 0.0


def is_supported() -> bool:
    """Whether this system tells what other processes use."""
    return sys.platform == "linux"
