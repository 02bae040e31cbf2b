"""Whether the log keeps up with what it is told."""

from collections.abc import Callable


class Pressure:
    """High while those who read the log are behind: whoever fills it with what functions print shall wait."""

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
        """Calls it once, as soon as the readers have caught up."""
        self._waiting.append(callback)
