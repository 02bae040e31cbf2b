"""Keeps what one source writes to the log within its limits, and says how much it has left out."""

import asyncio
import time
from datetime import UTC, datetime

from outlast.core.printing import Allowance, LogLimits
from outlast.telemetry.logs import Level, Log

TELL_EVERY_S = 1.0


_PRINTED = (
    "{lines:,} lines that it printed were left out: more than {lines_per_s:,} a second. "
    "To raise it: [functions.{function}.log] lines_per_s in outlast.toml"
)


class Quota:
    """That of a function is shared by all of its workers. No line goes uncounted."""

    def __init__(self, function: str | None, limits: LogLimits, log: Log, words: str = _PRINTED) -> None:
        """``words``: what is said of those left out; it may name ``lines``, ``lines_per_s`` and ``function``."""
        self._function = function
        self._log = log
        self._words = words
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._allowance = Allowance(limits)
        self._suppressed = 0
        """Lines that nobody has been told of yet."""
        self._since = 0.0
        """When the first of them came, in seconds since the epoch."""
        self._timer: asyncio.TimerHandle | None = None

    def use(self, limits: LogLimits) -> None:
        """From now on these limits count."""
        self._limits = limits
        self._allowance.use(limits)

    def admits(self, count: int = 1) -> int:
        """How many of so many more lines are to be logged; the others are counted."""
        admitted = self._allowance.take(self._loop.time(), count)
        if admitted < count:
            if not self._suppressed:
                self._since = time.time()
                self._timer = self._loop.call_later(TELL_EVERY_S, self.tell)
            self._suppressed += count - admitted
        return admitted

    def tell(self) -> None:
        """Tells of what has been left out so far. It may go on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._suppressed:
            return
        lines, self._suppressed = self._suppressed, 0
        self._log.emit(
            "log_suppressed",
            level=Level.WARNING,
            function=self._function,
            msg=self._words.format(lines=lines, lines_per_s=self._limits.lines_per_s, function=self._function),
            lines=lines,
            since=datetime.fromtimestamp(self._since, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
