"""Delays a change of a function until no worker is being started for it, but only for a moment."""

import asyncio
from collections.abc import Callable

from outlast.config.settings import FunctionSettings

MAX_HOLD_S = 0.5
"""A reload takes effect within a second of the change; the rest of that is for noticing it."""


class Change:
    def __init__(self, is_starting: Callable[[], bool], take_effect: Callable[[FunctionSettings], None]) -> None:
        self.latest: FunctionSettings | None = None
        """The change that has not taken effect yet, if there is one."""
        self._is_starting = is_starting
        self._take_effect = take_effect
        self._held: asyncio.TimerHandle | None = None

    def announce(self, function: FunctionSettings, *, at_once: bool) -> None:
        """Replaces any change that has not taken effect."""
        self.latest = function
        if at_once or not self._is_starting():
            self._come()
        elif self._held is None:
            # With one start for each of many changes in a row, none of the starts would ever be completed.
            self._held = asyncio.get_running_loop().call_later(MAX_HOLD_S, self._come)

    def start_ended(self) -> None:
        """A start has succeeded or failed."""
        if self.latest is not None and not self._is_starting():
            self._come()

    def cancel(self) -> None:
        self.latest = None
        if self._held is not None:
            self._held.cancel()
            self._held = None

    def _come(self) -> None:
        function = self.latest
        self.cancel()
        if function is not None:
            self._take_effect(function)
