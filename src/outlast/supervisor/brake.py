"""A brake on a function whose workers fail one after the other."""

import asyncio
from collections.abc import Callable

from outlast.core import balance
from outlast.telemetry.logs import Level, Log


class Brake:
    """After a few failures in a row, each further start has to wait twice as long as the one before."""

    def __init__(self, function: str, log: Log, on_released: Callable[[], None]) -> None:
        """``on_released`` is called when the next start is allowed."""
        self._function = function
        self._log = log
        self._on_released = on_released
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self.refuses = False
        """Whether the last worker failed before it was ready: then there is nothing for requests to wait for."""

    @property
    def is_on(self) -> bool:
        return self._timer is not None

    @property
    def remaining_s(self) -> float:
        return max(0.0, self._timer.when() - self._loop.time()) if self._timer is not None else 0.0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, *, refuses: bool) -> None:
        self._failures += 1
        self.refuses = refuses
        delay_s = balance.boot_delay_s(self._failures)
        if not delay_s or self.is_on:
            return
        self._timer = self._loop.call_later(delay_s, self._release)
        self._log.emit(
            "boot_delay",
            level=Level.WARNING,
            function=self._function,
            msg=f"{self._failures} workers in a row have failed: the next is started in {delay_s:g} s at the earliest",
            ms=round(delay_s * 1000),
        )

    def reset(self) -> None:
        """Forgets the failures: what failed is not what would be started now."""
        self._failures = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self) -> None:
        self._timer = None
        self._on_released()
