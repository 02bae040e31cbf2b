"""A watchdog: notices when the event loop is blocked, and by what; and when the node has said something to it.

While there is something to do, a timer's signal asks the loop for a sign of life. Python runs a signal's handler
between two steps of whatever code blocks the loop. So the handler sees that code's own frame, and can still do what
cannot wait: pass on what was printed, and hear the node.

What the node says also comes with a signal (`Channel.listen`). A moment later it is heard in the middle of
whatever runs then, unless the loop has handled it, as it does when it is not blocked.
"""

import linecache
import signal
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Set
from pathlib import Path
from types import CodeType, FrameType

from outlast.runtime import reports
from outlast.runtime.describe import is_users_code

TICK_S = 0.5
STUCK_AFTER_S = 1.0
HEARS_WITHIN_S = 0.01
"""How long the loop has to handle what the node says. From the CPU limit's warning to its end it can be 100 ms."""
TRIES_AGAIN_AFTER_S = 0.001


class Pulse:
    """``is_busy`` is called at each tick, and the ticks end when it returns False. ``on_stuck`` is called at each tick
    of a blocked loop, ``on_moving`` once it goes on. ``hear`` handles what the node has said, if there is anything; it
    is not called in the middle of a function whose code is one of ``undisturbed``."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        is_busy: Callable[[], bool],
        on_stuck: Callable[[], None],
        on_moving: Callable[[], None],
        hear: Callable[[], None],
        undisturbed: Set[CodeType],
    ) -> None:
        self._loop = loop
        self._is_busy = is_busy
        self._on_stuck = on_stuck
        self._on_moving = on_moving
        self._hear = hear
        self._undisturbed = undisturbed
        self._ticking = False
        self._called = False
        """Whether the node has said something since the last tick."""
        self._asked_at = 0.0
        """When the loop was asked for a sign of life that it has not given yet; or 0."""
        self._named = False
        """Whether what blocks the loop has been logged already."""
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.signal(signal.SIGIO, self._on_call)

    def quicken(self) -> None:
        """There is something to do."""
        if not self._ticking:
            self._ticking = True
            self._wind()

    def _on_alarm(self, _number: int, frame: FrameType | None) -> None:
        try:
            self._tick(frame)
        except MemoryError:
            # The code that has filled the memory gets one itself. Raised from here, it could hit any other code.
            self._called = True

    def _on_call(self, _number: int, _frame: FrameType | None) -> None:
        # The signal also comes when a slow node has room again for what is printed without end.
        if not self._called:
            self._called = self._ticking = True
            try:
                self._wind()
            except MemoryError:
                # As in `_on_alarm`; the next signal, or what there is to do next, sets the timer.
                self._called = self._ticking = False

    def _wind(self, first_s: float = HEARS_WITHIN_S) -> None:
        """Sets the timer for what is next."""
        while True:
            called = self._called
            next_s = first_s if called else TICK_S
            signal.setitimer(signal.ITIMER_REAL, next_s if self._ticking else 0, TICK_S)
            if called is self._called:
                return
            # The signal came in between.

    def _beat(self) -> None:
        self._asked_at = 0.0
        if self._named:
            self._named = False
            self._on_moving()

    def _tick(self, frame: FrameType | None) -> None:
        if self._called:
            if _is_inside(frame, self._undisturbed):
                self._wind(TRIES_AGAIN_AFTER_S)
                return
            self._called = False
            self._hear()
            if not self._asked_at:
                return
        now = time.monotonic()
        if not self._asked_at:
            if not self._is_busy():
                self._ticking = self._called
                self._wind()
                return
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._beat)
            return
        blocked_s = now - self._asked_at
        if blocked_s < STUCK_AFTER_S * 0.9:
            return
        if not self._named:
            self._named = True
            reports.log(
                "warning",
                f"the event loop has been blocked for {blocked_s:.1f} s by {_where(frame)}: no other request or task "
                "of this worker can go on meanwhile. Call something that can be awaited, or asyncio.to_thread(...)",
            )
        self._on_stuck()
        if not _is_inside(frame, self._undisturbed):
            self._hear()


def _is_inside(frame: FrameType | None, codes: Set[CodeType]) -> bool:
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def _where(frame: FrameType | None) -> str:
    """The innermost of the function's own frames."""
    innermost = frame
    while frame is not None and not is_users_code(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "code that is not Python"
    name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
    file = frame.f_code.co_filename
    line = linecache.getline(file, frame.f_lineno).strip()
    return f"{name} ({Path(file).name}, line {frame.f_lineno}" + (f": {line})" if line else ")")
