"""`beforeunload` in one life of a worker: the reasons that it was sent with, and which of them the end waits for."""

from collections.abc import Callable

from outlast.core.outcome import UnloadReason


class Unloading:
    def __init__(self, tell: Callable[[UnloadReason], None], on_done: Callable[[], None]) -> None:
        """``tell`` sends the event. ``on_done`` is called when the last listeners are done, or have had their time."""
        self._tell = tell
        self._on_done = on_done
        self._heard: dict[UnloadReason, bool] = {}
        """The reasons that were sent, and whether their listeners are done."""
        self._last: UnloadReason | None = None
        """The one that the end waits for."""

    def warn(self, reason: UnloadReason) -> None:
        """Each reason is told once."""
        if reason not in self._heard:
            self._heard[reason] = False
            self._tell(reason)

    def was_told(self, reason: UnloadReason) -> bool:
        return reason in self._heard

    def wait_for(self, reason: UnloadReason) -> None:
        """The end waits for the listeners of this one, if it was not heard long ago."""
        self.warn(reason)
        self._last = reason
        if self._heard[reason]:
            self.wait_no_longer()

    def heard(self, reason: UnloadReason) -> None:
        """Its listeners are done."""
        self._heard[reason] = True
        if reason == self._last:
            self.wait_no_longer()

    def wait_no_longer(self) -> None:
        if self._last is not None:
            self._last = None
            self._on_done()
