"""Background tasks: the work passed to `EdgeRuntime.wait_until`."""

import asyncio
import concurrent.futures
import contextvars
import inspect
import itertools
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import CoroutineType
from typing import Any

from outlast.runtime import memory, reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe
from outlast.wire.messages import TaskSettled, TaskStarted

AnyFuture = asyncio.Future[Any]

collected: ContextVar[tuple[set[AnyFuture], ...]] = ContextVar("outlast_collected_tasks", default=())
"""Sets in which every task that this context's code starts is kept until it has settled."""
unloading: ContextVar[bool] = ContextVar("outlast_unloading", default=False)
"""Whether this context's code is a `beforeunload` listener, or was started by one."""


_SETTLED = "__outlast_settled__"
"""Set on a future when its end has been reported: to look it up among all those there were would take longer."""


IGNORED_AFTER_S = 2.0
"""A task that goes on for so long after its timeout has cancelled it is told of."""


class _Limit:
    """The timeout of a task."""

    __slots__ = ("name", "passed", "seconds", "timer")

    def __init__(self, name: str, seconds: float, timer: asyncio.TimerHandle) -> None:
        self.name = name
        self.seconds = seconds
        self.passed = False
        self.timer = timer

    def __str__(self) -> str:
        return f'task "{self.name}"' if self.name else "the task"


class Tasks:
    """``on_rejected`` is called once for each task that fails."""

    def __init__(self, on_rejected: Callable[[AnyFuture | None, BaseException], None]) -> None:
        self._on_rejected = on_rejected
        self._numbers = itertools.count(1)
        self._open: dict[AnyFuture, tuple[int, object, _Limit | None]] = {}
        """Number, the awaitable given, timeout. The reference keeps the task alive, which asyncio does not do."""
        self._by_awaitable: dict[int, AnyFuture] = {}
        """By `id`, because awaitables need not be hashable."""
        self._wrapped: weakref.WeakKeyDictionary[concurrent.futures.Future[Any], AnyFuture] = (
            weakref.WeakKeyDictionary()
        )
        """The futures of threads and other processes, and what stands for them in the loop."""
        self._settled: weakref.WeakSet[AnyFuture] = weakref.WeakSet()
        """Those that cannot be marked as `_SETTLED`."""
        self._deferred: list[tuple[Awaitable[Any], str, float | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warned = False

    def __len__(self) -> int:
        return len(self._open)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sets the loop for tasks started by threads or before any loop ran. Call it in that loop."""
        self._loop = loop
        deferred, self._deferred = self._deferred, []
        for awaitable, name, timeout_s in deferred:
            self.wait_until(awaitable, name=name, timeout=timeout_s)

    def wait_until(self, awaitable: Any, *, name: str = "", timeout: float | None = None) -> Any:
        """See `outlast.runtime.edge_runtime.EdgeRuntime.wait_until`."""
        if type(name) is not str or timeout is not None:
            _check(name, timeout)
        if type(awaitable) is not CoroutineType and not _can_be_awaited(awaitable):
            self._warn(awaitable)
            return awaitable
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._without_loop(awaitable, name, timeout)
        return self._start(loop, awaitable, name, timeout)

    def begin(self, name: str) -> int:
        """Reports the start of work that somebody else runs. Returns its number, for `settle`."""
        number = next(self._numbers)
        reports.send(TaskStarted(number, name, request_id.get(), unloading.get()))
        return number

    def settle(self, number: int, error: BaseException | None, future: AnyFuture | None = None) -> None:
        """Call it once for each `begin`."""
        if error is None:
            reports.send(TaskSettled(number, "fulfilled"))
        else:
            reports.send(TaskSettled(number, "rejected", describe(error)))
            if not isinstance(error, asyncio.CancelledError):
                self._on_rejected(future, error)

    def _start(
        self, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any], name: str, timeout_s: float | None
    ) -> AnyFuture:
        future = self._by_awaitable.get(id(awaitable))
        if future is None and type(awaitable) is not CoroutineType:
            future = self._as_future(loop, awaitable)
        if future is not None and (future in self._open or self._has_settled(future)):
            # The same awaitable passed twice is one task.
            return future
        # Reported before any of its code runs: should that end the process, the task has a record.
        name = name or _name_of(awaitable)
        number = self.begin(name)
        if future is None:
            future = loop.create_task(awaitable if inspect.iscoroutine(awaitable) else _wait_for(awaitable))
            self._by_awaitable[id(awaitable)] = future
        limit = None
        if timeout_s is not None:
            limit = _Limit(name, timeout_s, loop.call_later(timeout_s, self._on_timeout, future))
        self._open[future] = number, awaitable, limit
        future.add_done_callback(self._on_done)
        for started in collected.get():
            # Forgotten again when it is done: what a listener starts may start tasks for as long as the worker lives.
            started.add(future)
            future.add_done_callback(started.discard)
        return future

    def _as_future(self, loop: asyncio.AbstractEventLoop, awaitable: Any) -> AnyFuture | None:
        """The future that it is, or that stands for it; None for anything else."""
        if not isinstance(awaitable, concurrent.futures.Future):
            return awaitable if asyncio.isfuture(awaitable) else None
        future = self._wrapped.get(awaitable)
        if future is None:
            self._wrapped[awaitable] = future = asyncio.wrap_future(awaitable, loop=loop)
        return future

    def _has_settled(self, future: AnyFuture) -> bool:
        return hasattr(future, _SETTLED) or future in self._settled

    def _on_timeout(self, future: AnyFuture) -> None:
        # Reported when it ends, not now: it may still have something to clean up.
        if future in self._open:
            _, _, limit = self._open[future]
            assert limit is not None
            limit.passed = True
            limit.timer = future.get_loop().call_later(IGNORED_AFTER_S, self._on_ignored, limit)
            future.cancel()

    def _on_ignored(self, limit: _Limit) -> None:
        text = (
            f"{limit} still runs, {IGNORED_AFTER_S:g} s after its timeout: something in it catches CancelledError, "
            "as a bare `except:` does, and goes on"
        )
        reports.log("warning", text)

    def _on_done(self, future: AnyFuture) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            memory.make_room(error)
        number, given, limit = self._open.pop(future)
        try:
            setattr(future, _SETTLED, True)
        except AttributeError:
            self._settled.add(future)
        self._by_awaitable.pop(id(given), None)
        if limit is not None:
            limit.timer.cancel()
        if isinstance(error, SystemExit | KeyboardInterrupt):
            # The process is about to end, and that is what interrupts the task.
            if not isinstance(future, asyncio.Task):
                # A task has raised it in the loop itself. A future's is known only here: it was raised in a thread.
                raise error
            return
        if limit is not None and limit.passed:
            reports.send(TaskSettled(number, "timed_out", f"TimeoutError: {limit} took longer than {limit.seconds} s"))
            if error is not None:
                reports.log("error", f"{limit} failed after its timeout:\n{describe(error)}")
                self._on_rejected(future, error)
        elif future.cancelled():
            # Somebody cancelled it on purpose: no event is dispatched for that.
            text = "CancelledError: the task was cancelled"
            if self._loop not in (None, future.get_loop()):
                text += ": it ran in an event loop of its own, and asyncio.run(...) cancels what it has not awaited"
            reports.send(TaskSettled(number, "rejected", text))
        else:
            self.settle(number, error, future)

    def _without_loop(self, awaitable: Awaitable[Any], name: str, timeout_s: float | None) -> Any:
        loop = self._loop or _loop_of_endpoint()
        if loop is None:
            # Top level of a module that is run by itself: `serve` brings the loop.
            self._deferred.append((awaitable, name, timeout_s))
            return awaitable
        started: concurrent.futures.Future[AnyFuture] = concurrent.futures.Future()

        def start() -> None:
            try:
                started.set_result(self._start(loop, awaitable, name, timeout_s))
            except BaseException as error:
                started.set_exception(error)

        loop.call_soon_threadsafe(start, context=contextvars.copy_context())
        return started.result()

    def _warn(self, value: object) -> None:
        if self._warned:
            return
        self._warned = True
        if callable(value):
            given = getattr(value, "__name__", type(value).__name__)
            what, call = f"the function {given}", f"{given}(...)"
        else:
            what, call = f"a value of type {type(value).__name__}", "work()"
        text = (
            f"EdgeRuntime.wait_until was given {what}, which is not awaitable, so there is nothing to wait for: "
            f"write EdgeRuntime.wait_until({call}) with an `async def` function, or "
            "EdgeRuntime.wait_until(asyncio.to_thread(work, ...)) with any other"
        )
        reports.log("warning", text)


def _loop_of_endpoint() -> asyncio.AbstractEventLoop | None:
    """The loop whose server has this thread run an endpoint that is no `async def`; outside Outlast nothing else knows
    it."""
    from anyio import from_thread

    try:
        return from_thread.run_sync(asyncio.get_running_loop)
    except RuntimeError:
        return None


def _check(name: object, timeout: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"wait_until: name must be a str, not {type(name).__name__}")
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"wait_until: timeout must be a number of seconds, not {type(timeout).__name__}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"wait_until: timeout must be a positive number of seconds, not {timeout}")


def _can_be_awaited(value: object) -> bool:
    return isinstance(value, concurrent.futures.Future) or inspect.isawaitable(value)


_TO_THREAD = asyncio.to_thread.__code__


def _name_of(awaitable: object) -> str:
    """The name of the function that does the work; empty for a bare future."""
    if type(awaitable) is CoroutineType and awaitable.cr_code is not _TO_THREAD:
        return awaitable.__qualname__.rpartition("<locals>.")[2]
    if isinstance(awaitable, asyncio.Task):
        awaitable = awaitable.get_coro()
    if getattr(awaitable, "cr_code", None) is _TO_THREAD:
        function = awaitable.cr_frame.f_locals["func"] if awaitable.cr_frame else None  # type: ignore[attr-defined]
        awaitable = function if function is not None else awaitable
    return plain_name(awaitable)


def plain_name(function: object) -> str:
    """``work`` for ``handler.<locals>.work``; empty for anything without a name."""
    function = getattr(function, "func", function)
    return str(getattr(function, "__qualname__", "")).rpartition("<locals>.")[2]


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
