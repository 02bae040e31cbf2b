"""What functions use of the runtime: `EdgeRuntime`, and event listeners."""

import asyncio
import concurrent.futures
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar, overload

from outlast.runtime.dispatching import listeners, tasks
from outlast.runtime.events import BeforeUnloadEvent, ErrorEvent, Event, EventType, Listener, UnhandledRejectionEvent

T = TypeVar("T")
BeforeUnloadListener = TypeVar("BeforeUnloadListener", bound=Callable[[BeforeUnloadEvent], object])
RejectionListener = TypeVar("RejectionListener", bound=Callable[[UnhandledRejectionEvent], object])
ErrorListener = TypeVar("ErrorListener", bound=Callable[[ErrorEvent], object])
PlainListener = TypeVar("PlainListener", bound=Callable[[Event], object])


class EdgeRuntime:
    """The runtime's API for background work, the same as in TypeScript."""

    @overload
    @staticmethod
    def wait_until(
        awaitable: Coroutine[Any, Any, T] | asyncio.Task[T], *, name: str = "", timeout: float | None = None
    ) -> asyncio.Task[T]: ...

    @overload
    @staticmethod
    def wait_until(
        awaitable: asyncio.Future[T] | concurrent.futures.Future[T], *, name: str = "", timeout: float | None = None
    ) -> asyncio.Future[T]: ...

    @overload
    @staticmethod
    def wait_until(awaitable: Awaitable[T], *, name: str = "", timeout: float | None = None) -> asyncio.Future[T]: ...

    @staticmethod
    def wait_until(awaitable: Any, *, name: str = "", timeout: float | None = None) -> Any:
        """Starts background work that outlasts the response; the worker stays alive until it has settled.

        Takes a coroutine, a task, a future (also of a pool) or ``asyncio.to_thread(...)``, and returns the task, which
        need not be awaited or kept. Call it anywhere: at the top level of the module, in a handler (sync or async),
        after the response, in another task. A failure is logged with its traceback, dispatches `unhandledrejection`,
        and affects no other task.

        Args:
            awaitable: the work. A value that cannot be awaited is returned unchanged, with a warning in the log.
            name: what the log calls the task; by default, the name of its function.
            timeout: seconds after which the task is cancelled; its outcome is then ``timed_out``.

        Raises `TypeError` or `ValueError` for an invalid name or timeout.
        """
        return tasks.wait_until(awaitable, name=name, timeout=timeout)


@overload
def add_event_listener(event: Literal["beforeunload"]) -> Callable[[BeforeUnloadListener], BeforeUnloadListener]: ...


@overload
def add_event_listener(event: Literal["beforeunload"], listener: BeforeUnloadListener) -> BeforeUnloadListener: ...


@overload
def add_event_listener(event: Literal["unhandledrejection"]) -> Callable[[RejectionListener], RejectionListener]: ...


@overload
def add_event_listener(event: Literal["unhandledrejection"], listener: RejectionListener) -> RejectionListener: ...


@overload
def add_event_listener(event: Literal["error"]) -> Callable[[ErrorListener], ErrorListener]: ...


@overload
def add_event_listener(event: Literal["error"], listener: ErrorListener) -> ErrorListener: ...


@overload
def add_event_listener(event: Literal["load", "unload"]) -> Callable[[PlainListener], PlainListener]: ...


@overload
def add_event_listener(event: Literal["load", "unload"], listener: PlainListener) -> PlainListener: ...


def add_event_listener(event: EventType, listener: Listener | None = None) -> Any:
    """Has ``listener(event)``, sync or async, called when the event happens. Without a listener, it is a decorator.

    - ``beforeunload``: the worker is about to end; ``event.detail.reason`` says why. Called once for each reason. What
      async listeners do, and what a listener passes to `EdgeRuntime.wait_until`, has a short grace.
    - ``unhandledrejection``: a background task failed, or a task whose exception nobody retrieved. ``event.reason`` is
      the exception, ``event.promise`` the task. `event.prevent_default()` marks it as handled.
    - ``error``: there was an error in a callback of the event loop, a thread or a listener: ``event.error``. It can be
      marked as handled, too.
    - ``load``, ``unload``: the module has been evaluated; the process is about to end.

    Raises `ValueError` for any other event.
    """
    if listener is None:
        return functools.partial(add_event_listener, event)
    listeners.add(event, listener)
    return listener


def remove_event_listener(event: EventType, listener: Callable[..., object]) -> None:
    """Undoes `add_event_listener`. Does nothing if ``listener`` is not registered."""
    listeners.remove(event, listener)
