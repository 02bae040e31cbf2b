"""A change that takes effect when nothing is being started for what it changes, and soon in any case."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_HOLD_S = 0.5
"""A reload takes effect within a second of the change; the rest of that is for noticing it."""

T = TypeVar("T")


class Change(Generic[T]):
    def __init__(self, is_starting: Callable[[], bool], take_effect: Callable[[T], None]) -> None:
        self.latest: T | None = None
        """What is to take effect."""
        self._is_starting = is_starting
        self._take_effect = take_effect
        self._held: asyncio.TimerHandle | None = None

    def announce(self, what: T, *, at_once: bool = False) -> None:
        """``what`` comes instead of any other that has not taken effect."""
        self.latest = what
        if at_once or not self._is_starting():
            self._come()
        elif self._held is None:
            # With a start for each of many changes in a row, none of the starts would come to its end.
            self._held = asyncio.get_running_loop().call_later(MAX_HOLD_S, self._come)

    def started(self) -> None:
        """A start is over, well or not."""
        if self.latest is not None and not self._is_starting():
            self._come()

    def cancel(self) -> None:
        self.latest = None
        if self._held is not None:
            self._held.cancel()
            self._held = None

    def _come(self) -> None:
        what = self.latest
        self.cancel()
        if what is not None:
            self._take_effect(what)
