"""The events of a worker's life, and who listens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

EventType = Literal["beforeunload", "error", "load", "unhandledrejection", "unload"]
Listener = Callable[[Any], object]
"""Sync, or async: then it returns something to await."""

TYPES: tuple[EventType, ...] = ("beforeunload", "error", "load", "unhandledrejection", "unload")


@dataclass(eq=False)
class Event:
    """`load`: the function's module is evaluated. `unload`: the process is about to end."""

    type: EventType
    default_prevented: bool = field(default=False, init=False)

    def prevent_default(self) -> None:
        """For `unhandledrejection` and `error`: says that the error has been handled."""
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
    """A background task failed, or a task or future whose exception nobody has asked for."""

    reason: BaseException
    promise: asyncio.Future[Any] | None


@dataclass(eq=False)
class ErrorEvent(Event):
    """An error outside of any task: in a callback of the event loop, or in a thread."""

    error: BaseException
    message: str


class Listeners:
    def __init__(self) -> None:
        self._by_type: dict[str, list[Listener]] = {}

    def add(self, event: str, listener: Listener) -> None:
        """Raises `ValueError` for an event that does not exist. The same listener twice is one."""
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
