"""The events of a worker's life, and their listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

EventType = Literal["beforeunload", "error", "load", "unhandledrejection", "unload"]
Listener = Callable[[Any], object]
"""Sync or async."""

TYPES: tuple[EventType, ...] = ("beforeunload", "error", "load", "unhandledrejection", "unload")


@dataclass(eq=False)
class Event:
    """`load`: the function's module has been evaluated. `unload`: the process is about to end."""

    type: EventType
    default_prevented: bool = field(default=False, init=False)

    def prevent_default(self) -> None:
        """Marks the error of an `unhandledrejection` or `error` event as handled."""
        self.default_prevented = True


@dataclass(frozen=True)
class UnloadDetail:
    reason: str
    """One of ``wall_clock``, ``cpu``, ``memory``, ``early_drop`` and ``termination``."""


@dataclass(eq=False)
class BeforeUnloadEvent(Event):
    """The worker is about to end. What a listener passes to `EdgeRuntime.wait_until` has a short grace."""

    detail: UnloadDetail


@dataclass(eq=False)
class UnhandledRejectionEvent(Event):
    """A background task failed, or a task or future whose exception nobody retrieved."""

    reason: BaseException
    promise: asyncio.Future[Any] | None


@dataclass(eq=False)
class ErrorEvent(Event):
    """An error outside any task: in a callback of the event loop, a thread or a listener."""

    error: BaseException
    message: str


class Listeners:
    def __init__(self) -> None:
        self._by_type: dict[str, list[Listener]] = {}

    def add(self, event: str, listener: Listener) -> None:
        """Adds a listener, unless it is there already. Raises `ValueError` for an unknown event."""
        if event not in TYPES:
            raise ValueError(f"there is no event {event!r}: the events are {', '.join(TYPES)}")
        listeners = self._by_type.setdefault(event, [])
        if listener not in listeners:
            listeners.append(listener)

    def remove(self, event: str, listener: Listener) -> None:
        listeners = self._by_type.get(event, [])
        if listener in listeners:
            listeners.remove(listener)

    def of(self, event: Event) -> tuple[Listener, ...]:
        return tuple(self._by_type.get(event.type, ()))
