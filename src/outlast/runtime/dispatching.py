"""Calls the listeners of events. Errors that nobody caught are events, too, above all those of background tasks; and
what an async listener does is a background task.
"""

import asyncio
import contextvars
import inspect
from contextvars import ContextVar

from outlast.runtime import memory, reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe, summary
from outlast.runtime.events import BeforeUnloadEvent, ErrorEvent, Event, Listeners, UnhandledRejectionEvent
from outlast.runtime.tasks import AnyFuture, Tasks, collected, plain_name, unloading
from outlast.wire.messages import Uncaught

_inside_error_listener: ContextVar[bool] = ContextVar("outlast_inside_error_listener", default=False)
"""Whether this code was started by a listener of an error: its failures are reported, but dispatch no further event."""

listeners = Listeners()
"""Those of this process."""


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
    for listener in listeners.of(event):
        try:
            result = listener(event)
            if inspect.isawaitable(result):
                tasks.wait_until(result, name=f"{event.type} listener {plain_name(listener)}".rstrip())
        except Exception as error:
            dispatch_error(error)
    return started


tasks = Tasks(on_rejected=dispatch_rejection)
