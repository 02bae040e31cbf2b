"""Where log lines go."""

import asyncio
import sys
from typing import TextIO

from outlast.telemetry.logs import Format, Level, Log


class Lines:
    """Writes to ``stream`` once for each turn of the event loop, however many lines that turn had."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._pending: list[str] = []

    def write(self, text: str) -> None:
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(text)

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        self._stream.write("".join(pending))
        self._stream.flush()


def open_log(lines: Lines, format: Format, level: Level) -> Log:  # noqa: A002, the name of the option
    return Log(lines.write, format=format, colour=sys.stdout.isatty(), level=level)
