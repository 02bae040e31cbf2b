"""What stands between the server and the function's application: every request passes here."""

import asyncio
import functools
import urllib.parse
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.runtime import reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe
from outlast.runtime.edge_runtime import tasks
from outlast.runtime.serving import HandlerApp, internal_server_error, log, report
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
            report(error)
        if not getattr(getattr(send, "__self__", None), "response_complete", False):
            # So the server cuts the connection, the only way to tell the client that the body is not all.
            raise


class Exchange:
    """A request to an ASGI application of the function's own.

    What is left of the application's call when its response is complete is a background task, whatever the framework
    calls it. The server is ready for the connection's next request then: nothing may reach it from here any more.

    Invariant: until the application's call has ended, the node knows of a request or a task that goes on. A retired
    worker is ended when it has neither. So the end of a response or of a task is held back until the node knows what
    follows: another task, the rest of the call, or nothing.
    """

    __slots__ = (
        *("_complete", "_ended", "_held", "_missing", "_number", "_released", "_releasing"),
        *("_running_named", "_scope", "_send", "_settled", "_started"),
    )

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = False
        self._missing: int | None = None
        """Bytes of the body, where the head tells how many there are."""
        self._complete = False
        """Whether the application has given all that the client needs."""
        self._ended = False
        self._number: int | None = None
        """Of the task that is the rest of the call."""
        self._running_named = 0
        self._held: deque[Message] = deque()
        """What completes the response, held back."""
        self._released = False
        self._settled: tuple[int, BaseException | None] | None = None
        """A task of the framework that has ended, and how; held back."""
        self._releasing: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await app(self._scope, receive, self.send)
            self._ended = True
            await self._release()
        except SystemExit:
            raise
        except BaseException as error:
            self._ended = True
            self._report(error)
            await self._release()
            if self._complete:
                return
            if self._started or self._scope["type"] != "http" or not isinstance(error, Exception):
                raise
            await internal_server_error()(self._scope, receive, self._send)
        else:
            if self._number is not None:
                tasks.settle(self._number, None)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self._missing = _body_length(self._scope["method"], message)
        elif message["type"] == "http.response.body":
            if not message.get("more_body", False):
                self._missing = 0
            elif self._missing is not None:
                self._missing -= len(message.get("body", b""))
        if not self._complete and self._missing is not None and self._missing <= 0:
            self._complete = True
            asyncio.get_running_loop().call_soon(self._look)
        if self._held or (self._complete and not self._released):
            self._held.append(message)
            if self._running_named:
                await self._release()
        else:
            await self._send(message)

    async def begin_named(self) -> None:
        """The node has been told of a task of the framework's."""
        self._running_named += 1
        completes = len(self._held) > 0
        await self._release()
        if completes:
            # What is written leaves at the end of the loop's turn, which the task may hold up.
            await asyncio.sleep(0)

    def end_named(self, number: int, error: BaseException | None) -> None:
        self._running_named -= 1
        if not self._complete or self._running_named or self._number is not None:
            tasks.settle(number, error, asyncio.current_task())
        else:
            self._settled = number, error
            asyncio.get_running_loop().call_soon(self._look)

    async def _release(self) -> None:
        """The node knows what follows."""
        if self._settled is not None:
            (number, error), self._settled = self._settled, None
            tasks.settle(number, error, asyncio.current_task())
        if self._complete and not self._released:
            self._released = True
            reports.flush()
            while self._held:
                await self._send(self._held[0])
                self._held.popleft()

    def _look(self, turns: int = TURNS_TO_RETURN) -> None:
        if self._ended or self._running_named or self._number is not None:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1)
        else:
            self._number = tasks.begin(self._name())
            self._releasing = asyncio.get_running_loop().create_task(self._release_in_time())

    async def _release_in_time(self) -> None:
        try:
            await self._release()
        except Exception as error:
            # The response is not what its head had promised.
            log("error", describe(error))

    def _name(self) -> str:
        endpoint = self._scope.get("endpoint") or self._scope.get("route_handler")
        return plain_name(endpoint) or f"{self._scope['method']} {self._scope['path']}"

    def _report(self, error: BaseException) -> None:
        reported = getattr(error, _REPORTED, False)
        if self._number is not None:
            tasks.settle(self._number, None if reported else error, asyncio.current_task())
        elif not reported:
            report(error)


def _body_length(method: str, start: Message) -> int | None:
    """What the client goes by (RFC 9112, section 6.3); None where the last piece says that it is the last."""
    if method == "HEAD" or start["status"] in (204, 304):
        return 0
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value)
    return None


_REPORTED = "__outlast_reported__"
"""Set on an exception that a task has ended with: frameworks pass it on."""


def install() -> None:
    """From now on Starlette's background tasks, which are FastAPI's too, are reported one by one, by their names."""
    run = BackgroundTask.__call__

    async def run_reported(self: BackgroundTask) -> None:
        exchange = _current.get()
        number = tasks.begin(plain_name(self.func))
        if exchange is not None:
            await exchange.begin_named()
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
                if exchange is not None:
                    exchange.end_named(number, error)
                else:
                    tasks.settle(number, error, asyncio.current_task())

    BackgroundTask.__call__ = run_reported  # type: ignore[method-assign]


def _mark(error: Any) -> None:
    try:
        setattr(error, _REPORTED, True)
    except AttributeError:
        # An exception with slots: it is logged once more.
        return
