"""How much a function may print."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LogLimits:
    """``[functions.NAME.log]`` of outlast.toml: lines beyond these are counted, and not logged."""

    lines_per_s: int = 10_000
    """0: no limit."""
    burst_lines: int = 50_000
    """How many may come at once, after a while without any."""


class Allowance:
    """Decides which lines are within the limits (a token bucket)."""

    __slots__ = ("_at", "_left", "_limits")

    def __init__(self, limits: LogLimits) -> None:
        self._at = 0.0
        self.use(limits)

    def use(self, limits: LogLimits) -> None:
        """Applies new limits, starting with a whole burst."""
        self._limits = limits
        self._left: float = limits.burst_lines

    def take(self, now: float, count: int = 1) -> int:
        """How many of ``count`` more lines are within the limits. ``now``: seconds, of a clock that never goes back."""
        limits, left = self._limits, self._left
        if not limits.lines_per_s:
            return count
        left += (now - self._at) * limits.lines_per_s
        self._at = now
        if left > limits.burst_lines:
            left = limits.burst_lines
        taken = min(count, int(left))
        self._left = left - taken
        return taken
