"""`serve`: sets the handler that answers requests, and makes it an ASGI application."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, overload

import starlette.responses
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.runtime import memory, reports
from outlast.runtime.describe import describe, shown
from outlast.runtime.dispatching import report_uncaught
from outlast.runtime.requests import ClientDisconnect, Request

Handler = Callable[[Request], starlette.responses.Response | Awaitable[starlette.responses.Response]]
H = TypeVar("H", bound=Handler)


class HandlerApp:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler) -> None:
        call = getattr(handler, "__call__", None)  # noqa: B004, an object with an async __call__
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            reports.log(
                "error", "serve(handler) takes no WebSockets: define an ASGI `app` (Starlette, FastAPI) for them"
            )
            await send({"type": "websocket.close", "code": 1003})
            return
        request = Request(scope, receive)
        try:
            answer = await self.answer(request)
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # BaseException, because the handler may have awaited something that was cancelled, for instance.
            memory.make_room(error)
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            report(error)
            answer = internal_server_error()
        if answer is not None:
            reports.flush()
            await answer(scope, request.receive.ended, send)

    async def answer(self, request: Request) -> starlette.responses.Response | None:
        """The response for the client; None if the client is gone. Raises whatever the handler raises."""
        try:
            answer: Any = (
                await cast(Awaitable[Any], self._handler(request))
                if self._is_async
                else await self._call_in_thread(request)
            )
        except ClientDisconnect:
            return None
        if isinstance(answer, starlette.responses.Response):
            return answer
        reports.log("error", f"handler returned {shown(answer)}, not a Response")
        return _failure(502, "Bad Gateway", "BAD_RESPONSE")

    async def _call_in_thread(self, request: Request) -> Any:
        answer = await run_in_threadpool(self._handler, request)
        return await answer if inspect.isawaitable(answer) else answer


class _Serving:
    """What is served in this process."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.inside_worker = False
        self.on_app: Callable[[ASGIApp], None] | None = None
        """Called with each application to send requests to."""


serving = _Serving()


@overload
def serve(handler: H, *, host: str = "127.0.0.1", port: int = 8000) -> H: ...


@overload
def serve(handler: None = None, *, host: str = "127.0.0.1", port: int = 8000) -> Callable[[H], H]: ...


def serve(handler: Any = None, *, host: str = "127.0.0.1", port: int = 8000) -> Any:
    """Answers requests with ``handler(request)``; also a decorator, ``@serve``.

    The handler is an ``async def``, or a plain function, which then runs in a thread. `serve` returns it and does not
    block; the last call counts. Inside Outlast, ``host`` and ``port`` are ignored. When the module is run by itself
    (``python main.py``), a plain server listens there once the module's code has run.

    Raises `TypeError` if the handler cannot be called.
    """
    if handler is None:
        return lambda decorated: serve(decorated, host=host, port=port)
    if not callable(handler):
        raise TypeError(f"serve needs a handler, a function of a request, not {shown(handler)}")
    if serving.app is not None:
        reports.log("warning", "serve was called again: from now on its last handler answers every request")
    serving.app = app = HandlerApp(handler)
    if serving.on_app is not None:
        serving.on_app(app)
    if not serving.inside_worker and _is_of_main_program(handler):
        from outlast.runtime import standalone

        standalone.serve_when_module_ends(app, host, port)
    return handler


def internal_server_error() -> starlette.responses.Response:
    return _failure(500, "Internal Server Error", "HANDLER_ERROR")


def report(error: BaseException) -> None:
    """Reports an error that a handler raised."""
    if memory.is_short(error):
        # Nobody knows what else fails in a process that has reached its limit: it must be replaced.
        report_uncaught(error)
    else:
        reports.log("error", describe(error))


def _failure(status: int, text: str, code: str) -> starlette.responses.Response:
    fields = {"sb-error-code": code, "access-control-allow-origin": "*", "access-control-expose-headers": "*"}
    return starlette.responses.PlainTextResponse(text, status, fields)


def _is_of_main_program(handler: object) -> bool:
    """Whether the file that is run by itself defines the handler, or gives it to `serve`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    giver = frame.f_globals.get("__name__") if frame is not None else None
    return "__main__" in (giver, getattr(handler, "__module__", None)) and hasattr(sys.modules["__main__"], "__file__")
