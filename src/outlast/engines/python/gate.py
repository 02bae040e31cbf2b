"""What stands between the server and the function's application: every request passes here."""

import asyncio
import functools
import urllib.parse
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.runtime import reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe
from outlast.runtime.edge_runtime import tasks
from outlast.runtime.serving import HandlerApp, internal_server_error, log
from outlast.runtime.tasks import plain_name

TURNS_TO_RETURN = 16
"""Of the event loop. Middleware may take a few from the end of the response to the end of the application's call."""

_current: ContextVar["Exchange | None"] = ContextVar("outlast_exchange", default=None)


class Gate:
    """An ASGI application.

    ``on_request`` is called as each request begins, ``on_end`` when its last code has run, ``on_exit`` for `sys.exit`.
    """

    def __init__(
        self, on_request: Callable[[], None], on_end: Callable[[], None], on_exit: Callable[[SystemExit], None]
    ) -> None:
        self.app: ASGIApp | None = None
        self.running = 0
        """Requests whose code still runs."""
        self._on_request = on_request
        self._on_end = on_end
        self._on_exit = on_exit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        assert app is not None, "no request comes before the worker is ready"
        request_id.set(introduce(scope))
        self.running += 1
        self._on_request()
        try:
            if isinstance(app, HandlerApp):
                await _run_handler(app, scope, receive, send)
            else:
                exchange = Exchange(scope, send)
                _current.set(exchange)
                await exchange.run(app, receive)
        except SystemExit as exit_:
            self._on_exit(exit_)
        finally:
            self.running -= 1
            self._on_end()


def introduce(scope: Scope) -> str:
    """Makes the request look as if the client had sent it to the function itself. Returns its id."""
    id_ = ""
    missing = 3
    # The gateway writes its own fields after the client's.
    for name, value in reversed(scope["headers"]):
        if name == b"sb-request-id":
            id_ = value.decode("latin-1")
        elif name == b"x-outlast-peer":
            host, _, port = value.decode("latin-1").rpartition(":")
            scope["client"] = (host.strip("[]"), int(port) if port.isdigit() else 0)
        elif name == b"x-forwarded-proto":
            if value == b"https":
                scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        else:
            continue
        missing -= 1
        if not missing:
            break
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    scope["server"] = _server(host, 443 if scope["scheme"] in ("https", "wss") else 80)
    return id_


@functools.lru_cache(maxsize=256)
def _server(host: bytes, default_port: int) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit("//" + host.decode("latin-1"))
        return parts.hostname or "", parts.port or default_port
    except ValueError:
        return "", default_port


async def _run_handler(app: HandlerApp, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await app(scope, receive, send)
    except Exception as error:
        # The handler's own errors have been answered: this comes of the response's body, or of what it left behind.
        if not getattr(error, _REPORTED, False):
            log("error", describe(error))
        if not getattr(getattr(send, "__self__", None), "response_complete", False):
            # So the server cuts the connection, the only way to tell the client that the body is not all.
            raise


class Exchange:
    """A request to an ASGI application of the function's own.

    What is left of the application's call when its response is complete is a background task, whatever the framework
    calls it. The server is ready for the connection's next request then: nothing may reach it from here any more.
    """

    __slots__ = ("_complete", "_ended", "_number", "_running_named", "_scope", "_send", "_started")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = False
        self._complete = False
        self._ended = False
        self._number: int | None = None
        self._running_named = 0

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await app(self._scope, receive, self.send)
        except SystemExit:
            raise
        except BaseException as error:
            self._ended = True
            self._report(error)
            if self._complete:
                return
            if self._started or self._scope["type"] != "http" or not isinstance(error, Exception):
                raise
            await internal_server_error()(self._scope, receive, self._send)
        else:
            self._ended = True
            if self._number is not None:
                tasks.settle(self._number, None)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            # The node must know of every task before it knows that the request is over.
            reports.flush()
            await self._send(message)
            self._complete = True
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._started = True
        await self._send(message)

    def begin_named(self) -> None:
        self._running_named += 1

    def end_named(self) -> None:
        self._running_named -= 1
        if self._complete and not self._running_named:
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self, turns: int = TURNS_TO_RETURN) -> None:
        if self._ended or self._running_named or self._number is not None:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1)
        else:
            self._number = tasks.begin(self._name())

    def _name(self) -> str:
        endpoint = self._scope.get("endpoint") or self._scope.get("route_handler")
        return plain_name(endpoint) or f"{self._scope['method']} {self._scope['path']}"

    def _report(self, error: BaseException) -> None:
        reported = getattr(error, _REPORTED, False)
        if self._number is not None:
            tasks.settle(self._number, None if reported else error, asyncio.current_task())
        elif not reported:
            log("error", describe(error))


_REPORTED = "__outlast_reported__"
"""Set on an exception that a task has ended with: frameworks pass it on."""


def install() -> None:
    """From now on Starlette's background tasks, which are FastAPI's too, are reported one by one, by their names."""
    run = BackgroundTask.__call__

    async def run_reported(self: BackgroundTask) -> None:
        exchange = _current.get()
        number = tasks.begin(plain_name(self.func))
        if exchange is not None:
            exchange.begin_named()
        error: BaseException | None = None
        try:
            await run(self)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if not isinstance(error, SystemExit):
                if error is not None:
                    _mark(error)
                tasks.settle(number, error, asyncio.current_task())
            if exchange is not None:
                exchange.end_named()

    BackgroundTask.__call__ = run_reported  # type: ignore[method-assign]


def _mark(error: Any) -> None:
    try:
        setattr(error, _REPORTED, True)
    except AttributeError:
        # An exception with slots: it is logged once more.
        return
