"""A timeout for silence that costs one attribute store for each sign of life."""

import math
from collections.abc import Callable
from typing import Protocol

LATE_S = 1.0
"""A timer that comes later than this comes to a process that stood still: it was stopped, or its machine was. Whatever
was to come before the timer may have come, and is read after it."""


class Handle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What an asyncio event loop offers."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Handle: ...


class IdleTimer:
    """Calls ``on_idle`` once, ``limit_s`` after the last call of `expect` or `touch`.

    A sign of life does not move the event loop's timer. When that fires, it looks at the last sign of life and, if that
    is too recent, sets itself again for the time that remains. Time in which this process stood still is no silence.
    """

    __slots__ = ("_clock", "_handle", "_heard_at", "_limit_s", "_looks_at", "_now", "_on_idle")

    def __init__(self, clock: Clock, on_idle: Callable[[], object]) -> None:
        self._clock = clock
        self._now = clock.time
        self._on_idle = on_idle
        self._limit_s = 0.0
        self._heard_at = 0.0
        self._looks_at = math.inf
        self._handle: Handle | None = None

    def expect(self, limit_s: float) -> None:
        """From now on, `touch` must be called at least every ``limit_s``; 0 stops the watch."""
        self._limit_s = limit_s
        if limit_s:
            heard_at = self._heard_at = self._now()
            if heard_at + limit_s < self._looks_at:
                self._look_in(limit_s)

    def touch(self) -> None:
        """There was a sign of life."""
        self._heard_at = self._now()

    def cancel(self) -> None:
        """Never call ``on_idle`` again."""
        self._limit_s = 0.0
        self._cancel_look()

    def _cancel_look(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._looks_at = math.inf

    def _look_in(self, delay_s: float) -> None:
        self._cancel_look()
        self._looks_at = self._now() + delay_s
        self._handle = self._clock.call_later(delay_s, self._look)

    def _look(self) -> None:
        due, now = self._looks_at, self._now()
        self._handle = None
        self._looks_at = math.inf
        if not self._limit_s:
            return
        if now - due > LATE_S:
            self._heard_at = now
        remaining = self._heard_at + self._limit_s - now
        if remaining > 0:
            self._look_in(remaining)
        else:
            self._limit_s = 0.0
            self._on_idle()
