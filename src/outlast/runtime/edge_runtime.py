"""`EdgeRuntime` and the event listeners, of which each process has one set."""

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, overload

from outlast.runtime import memory, reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe, summary
from outlast.runtime.events import (
    BeforeUnloadEvent,
    ErrorEvent,
    Event,
    EventType,
    Listener,
    Listeners,
    UnhandledRejectionEvent,
)
from outlast.runtime.tasks import AnyFuture, Tasks, collected, plain_name, unloading
from outlast.wire.messages import Uncaught

T = TypeVar("T")
BeforeUnloadListener = TypeVar("BeforeUnloadListener", bound=Callable[[BeforeUnloadEvent], object])
RejectionListener = TypeVar("RejectionListener", bound=Callable[[UnhandledRejectionEvent], object])
ErrorListener = TypeVar("ErrorListener", bound=Callable[[ErrorEvent], object])
PlainListener = TypeVar("PlainListener", bound=Callable[[Event], object])

_inside_error_listener: ContextVar[bool] = ContextVar("outlast_inside_error_listener", default=False)
"""Whether this code was started by a listener of an error: its failures are reported, but dispatch no further event."""

_listeners = Listeners()


# Errors that nobody caught.


def dispatch_rejection(promise: AnyFuture | None, reason: BaseException, *, uncaught: bool = False) -> None:
    """Dispatches `unhandledrejection`.

    ``uncaught``: unless a listener prevents it, it is also reported to the node as an uncaught error. A MemoryError
    always counts as uncaught, because a process that has reached its limit must be replaced.
    """
    uncaught = uncaught or memory.is_short(reason)
    _dispatch_error(UnhandledRejectionEvent("unhandledrejection", reason, promise), reason, uncaught)


def dispatch_error(error: BaseException) -> None:
    """Dispatches `error`, for an error outside any task. Unless a listener prevents it, it is uncaught."""
    _dispatch_error(ErrorEvent("error", error, summary(error)), error, uncaught=True)


def _dispatch_error(event: UnhandledRejectionEvent | ErrorEvent, error: BaseException, uncaught: bool) -> None:
    if _inside_error_listener.get():
        if uncaught:
            report_uncaught(error)
        return
    pending = dispatch(event)
    if not uncaught:
        return
    request = request_id.get()

    def decide() -> None:
        if not event.default_prevented:
            report_uncaught(error, request)

    if pending:
        asyncio.gather(*pending, return_exceptions=True).add_done_callback(lambda _: decide())
    else:
        decide()


def report_uncaught(error: BaseException, request: str | None = None) -> None:
    reports.send(Uncaught(describe(error), request_id.get() if request is None else request))


def dispatch(event: Event) -> set[AnyFuture]:
    """Calls every listener. Returns those tasks they start that have not settled, a set that changes; see `settled`."""
    return contextvars.copy_context().run(_dispatch, event)


async def settled(started: set[AnyFuture]) -> None:
    """Waits for all of them, including those added while it waits, however they end."""
    while started:
        # One that is done leaves the set only when its failure, if it is one, has been dispatched.
        await asyncio.wait(started)


def _dispatch(event: Event) -> set[AnyFuture]:
    started: set[AnyFuture] = set()
    # Around it there may be a listener of another event, whose dispatcher waits for what comes of an error in it, too.
    collected.set((*collected.get(), started))
    if isinstance(event, BeforeUnloadEvent):
        unloading.set(True)
    if isinstance(event, UnhandledRejectionEvent | ErrorEvent):
        _inside_error_listener.set(True)
    for listener in _listeners.of(event):
        try:
            result = listener(event)
            if inspect.isawaitable(result):
                tasks.wait_until(result, name=f"{event.type} listener {plain_name(listener)}".rstrip())
        except Exception as error:
            dispatch_error(error)
    return started


tasks = Tasks(on_rejected=dispatch_rejection)


# What functions use.


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
    _listeners.add(event, listener)
    return listener


def remove_event_listener(event: EventType, listener: Callable[..., object]) -> None:
    """Undoes `add_event_listener`. Does nothing if ``listener`` is not registered."""
    _listeners.remove(event, listener)
