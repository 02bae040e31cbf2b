"""Whether the log's reader keeps up."""

from collections.abc import Callable


class Pressure:
    """High while the log's reader is behind: functions that print must wait then."""

    def __init__(self) -> None:
        self.is_high = False
        self._waiting: list[Callable[[], None]] = []

    def rise(self) -> None:
        self.is_high = True

    def fall(self) -> None:
        self.is_high = False
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def when_low(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, as soon as the reader has caught up."""
        self._waiting.append(callback)
