"""Writes log lines to a descriptor."""

import asyncio
import contextlib
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable

from outlast.telemetry.pressure import Pressure

FLUSH_S = 0.002
MUCH = 1 << 20
"""Unread bytes, from which on functions that print have to wait."""
TOO_MUCH = 16 << 20
"""The most unread bytes that are kept."""
LAST_LINES_S = 2.0


class Lines:
    """Writes lines in batches, gathered for ``FLUSH_S``: writing each by itself would make requests expensive.

    It never waits for the reader. More than ``MUCH`` unread raises the pressure; lines beyond ``TOO_MUCH`` are lost.
    When nothing can be written any more (nobody reads the pipe, the disk is full), all lines are lost and serving goes
    on.
    """

    def __init__(
        self, descriptor: int, encoding: str, pressure: Pressure, on_lost: Callable[[int], None] = lambda count: None
    ) -> None:
        """``on_lost`` is called with the number of lost lines, once there is room again."""
        self.lost = 0
        self._descriptor = _without_waiting(descriptor)
        self._encoding = encoding
        self._pressure = pressure
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._pending: list[str] = []
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._is_waiting = False
        """Whether it waits for the descriptor to accept more."""
        self._lost_since = 0

    def write(self, text: str) -> None:
        if not self._pending:
            self._loop.call_later(FLUSH_S, self.flush)
        self._pending.append(text)

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        data = "".join(pending).encode(self._encoding, "backslashreplace")
        if self._unsent_bytes + len(data) > TOO_MUCH:
            self._lose(len(pending))
        elif data:
            self._unsent.append(data)
            self._unsent_bytes += len(data)
        if not self._is_waiting:
            if self._send():
                self._tell_lost()
            elif self._unsent:
                self._is_waiting = True
                self._loop.add_writer(self._descriptor, self._go_on)
        if self._unsent_bytes > MUCH:
            self._pressure.rise()

    def close(self) -> None:
        """Writes what is left, waiting for the reader for a moment."""
        self.flush()
        if self._is_waiting:
            self._loop.remove_writer(self._descriptor)
        until = time.monotonic() + LAST_LINES_S
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while self._unsent and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            self._send()

    def _go_on(self) -> None:
        self._send()
        if self._unsent:
            return
        self._is_waiting = False
        self._loop.remove_writer(self._descriptor)
        if self._pressure.is_high:
            self._pressure.fall()
        self._tell_lost()

    def _tell_lost(self) -> None:
        if self._lost_since:
            lost, self._lost_since = self._lost_since, 0
            self._on_lost(lost)

    def _send(self) -> bool:
        """Writes as much as possible without waiting. Returns whether that was everything."""
        while self._unsent:
            data = self._unsent[0]
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:
                return False
            except OSError:
                self._lose(sum(data.count(b"\n") for data in self._unsent))
                self._unsent.clear()
                self._unsent_bytes = 0
                return False
            self._unsent_bytes -= count
            if count == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = data[count:]
        return True

    def _lose(self, lines: int) -> None:
        self.lost += lines
        self._lost_since += lines


def _without_waiting(descriptor: int) -> int:
    """Opens the same pipe or terminal again, in non-blocking mode: other processes share the old descriptor's mode.

    If that is not possible, writing blocks.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    # Another process may have made it non-blocking, and half of a line could be refused.
    os.set_blocking(descriptor, True)
    return descriptor
