"""Where log lines go, and what commands print for programs."""

import asyncio
import os
import sys

import msgspec

FLUSH_S = 0.002


class Lines:
    """Writes to a descriptor what came together within ``FLUSH_S``: a line at a time would cost a request dearly.

    Where nothing can be written any more (nobody reads the pipe, the disk is full), lines are lost and ``lost`` counts
    them: serving goes on.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._encoding = encoding
        self._loop = asyncio.get_running_loop()
        self._pending: list[str] = []
        # Whoever shares a terminal or a pipe may have made it so, and half of a line could be refused.
        os.set_blocking(descriptor, True)

    def write(self, text: str) -> None:
        if not self._pending:
            self._loop.call_later(FLUSH_S, self.flush)
        self._pending.append(text)

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        data = "".join(pending).encode(self._encoding, "backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self.lost += len(pending)


def object_line(value: object) -> None:
    """One object a line, at once: whoever reads may wait for it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
