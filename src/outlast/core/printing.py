"""How much a function may print."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LogLimits:
    """``[functions.NAME.log]`` of outlast.toml: lines beyond these are counted, and not logged."""

    lines_per_s: int = 10_000
    """0: no limit."""
    burst_lines: int = 50_000
    """So many may come at once, after a while without any."""


class Allowance:
    """Which lines are within the limits. ``now``: of any clock that never goes back, in seconds."""

    __slots__ = ("_at", "_left", "_limits")

    def __init__(self, limits: LogLimits) -> None:
        self._at = 0.0
        self.use(limits)

    def use(self, limits: LogLimits) -> None:
        """From now on these; a whole burst is left of them."""
        self._limits = limits
        self._left: float = limits.burst_lines

    def take(self, now: float) -> bool:
        """Whether one more line is."""
        limits, left = self._limits, self._left
        if not limits.lines_per_s:
            return True
        left += (now - self._at) * limits.lines_per_s
        self._at = now
        if left > limits.burst_lines:
            left = limits.burst_lines
        if left < 1:
            self._left = left
            return False
        self._left = left - 1
        return True
