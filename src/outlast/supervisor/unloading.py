"""`beforeunload` in the life of one worker: which reasons it was told, and which of them its end waits for."""

from collections.abc import Callable

from outlast.core.outcome import UnloadReason


class Unloading:
    def __init__(self, tell: Callable[[UnloadReason], None], on_done: Callable[[], None]) -> None:
        """``tell`` sends the event. ``on_done`` is called when the listeners waited for are done, or out of time."""
        self._tell = tell
        self._on_done = on_done
        self._heard: dict[UnloadReason, bool] = {}
        """The reasons that were sent, each with whether its listeners are done."""
        self._last: UnloadReason | None = None
        """The reason that the end waits for."""

    def warn(self, reason: UnloadReason) -> None:
        """Sends the event, once for each reason."""
        if reason not in self._heard:
            self._heard[reason] = False
            self._tell(reason)

    def was_told(self, reason: UnloadReason) -> bool:
        return reason in self._heard

    def wait_for(self, reason: UnloadReason) -> None:
        """Sends the event; the end waits for its listeners, unless they are done already."""
        self.warn(reason)
        self._last = reason
        if self._heard[reason]:
            self.wait_no_longer()

    def heard(self, reason: UnloadReason) -> None:
        """The listeners of this reason are done."""
        self._heard[reason] = True
        if reason == self._last:
            self.wait_no_longer()

    def wait_no_longer(self) -> None:
        if self._last is not None:
            self._last = None
            self._on_done()
