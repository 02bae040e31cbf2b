"""The calls of applications, and what becomes of one whose response is complete, or whose client is gone."""

import asyncio
from collections import deque
from contextvars import ContextVar
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from outlast.runtime import memory, reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe
from outlast.runtime.dispatching import tasks
from outlast.runtime.requests import ClientDisconnect
from outlast.runtime.responses import ENDED
from outlast.runtime.serving import internal_server_error, report
from outlast.runtime.tasks import plain_name

TURNS_TO_RETURN = 16
"""Of the event loop. Middleware may take a few turns between the end of the response and that of the call."""

_REPORTED = "__outlast_reported__"
"""Set on an exception that is known already, as that of a task, because frameworks pass it on."""

_current: ContextVar["Call | None"] = ContextVar("outlast_call", default=None)


class Call:
    """The call of an ASGI application for a request, or of a handler that goes on without its client.

    What is left of the application's call when its response is complete, or its client gone, is a background task,
    whatever the framework calls it. By then the connection may serve its next request: nothing may be sent on it from
    here any more.

    Invariant: until the application's call has ended, the node knows of a request or a task that is still running. It
    ends a retired worker that has neither. So the end of a response or of a task is held back until the node knows what
    follows: another task, the rest of the call, or nothing.
    """

    __slots__ = (
        *("_complete", "_ended", "_held", "_left", "_missing", "_number", "_released", "_releasing"),
        *("_request_id", "_running_named", "_scope", "_send", "_settled", "_started"),
    )

    def __init__(self, request_id: str, scope: Scope, send: Send) -> None:
        self._request_id = request_id
        self._scope = scope
        self._send = send
        self._started = False
        self._missing: int | None = None
        """Bytes of the body that are still to come; None if the head does not say how many there are."""
        self._complete = False
        """Whether the application has sent the whole response."""
        self._left = False
        """Whether the client is gone."""
        self._ended = False
        self._number: int | None = None
        """The number of the task that is the rest of the call."""
        self._running_named = 0
        """How many tasks of the framework are running, which have names of their own."""
        self._held: deque[Message] = deque()
        """The messages that complete the response, held back."""
        self._released = False
        self._settled: tuple[int, BaseException | None] | None = None
        """A task of the framework that has ended, and its error if it failed; held back."""
        self._releasing: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        _current.set(self)
        await self._run(app, receive)
        if self._releasing is not None:
            # The end of the response may wait for a slow client, for longer than the call has lasted.
            await self._releasing

    async def _run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await app(self._scope, receive, self.send)
            self._ended = True
            await self._release()
        except SystemExit:
            raise
        except BaseException as error:
            memory.make_room(error)
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
            if hasattr(message.get("headers"), "__next__"):
                # An iterator will do, too (ASGI specification, "Response Start").
                message = {**message, "headers": tuple(message["headers"])}
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
            elif message.get("more_body", False):
                # An application that sends on and on would keep the loop from its turns.
                await asyncio.sleep(0)
        else:
            await self._send(message)

    def leave(self) -> None:
        """The client is gone: the call goes on for nobody."""
        self._left = True
        asyncio.get_running_loop().call_soon(self._look)

    def end(self, error: BaseException | None = None) -> None:
        """The call has ended; of an application, that is known already."""
        if self._ended:
            return
        self._ended = True
        if error is not None:
            self._report(error)
        elif self._number is not None:
            tasks.settle(self._number, None)

    async def begin_named(self) -> None:
        """The node has been told of a task of the framework."""
        self._running_named += 1
        completes = len(self._held) > 0
        await self._release()
        if completes:
            # What is written leaves at the end of the loop's turn, which the task may delay.
            await asyncio.sleep(0)

    def end_named(self, number: int, error: BaseException | None) -> None:
        self._running_named -= 1
        is_background = self._complete or self._left
        if not is_background or self._running_named or self._number is not None:
            tasks.settle(number, error, asyncio.current_task())
        else:
            self._settled = number, error
            asyncio.get_running_loop().call_soon(self._look)

    async def _release(self) -> None:
        """Sends what was held back: the node knows what follows."""
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
        """Makes a task of the rest of the call, unless it ends within so many turns."""
        if self._ended or self._running_named or self._number is not None:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1)
        else:
            # The present context may be that of the connection, or of the worker's node.
            request_id.set(self._request_id)
            self._number = tasks.begin(self._name())
            self._releasing = asyncio.get_running_loop().create_task(self._release_in_time())

    async def _release_in_time(self) -> None:
        try:
            await self._release()
        except Exception as error:
            # The response does not match its head.
            reports.log("error", describe(error))

    def _name(self) -> str:
        # Starlette, which FastAPI uses too; Litestar.
        endpoint = self._scope.get("endpoint") or getattr(self._scope.get("route_handler"), "fn", None)
        return plain_name(endpoint) or f"{self._scope.get('method', 'WebSocket')} {self._scope['path']}"

    def _report(self, error: BaseException) -> None:
        if self._number is None:
            report_once(error)
            return
        reported = _is_reported(error)
        _mark(error)
        tasks.settle(self._number, None if reported else error, asyncio.current_task())


class WebSocketCall(Call):
    """A WebSocket, whose application may go on when it is closed."""

    __slots__ = ()

    async def send(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:
            # The client is gone. Applications need not catch it (ASGI specification, "Disconnected Client").
            _mark(error)
            raise


def _body_length(method: str, start: Message) -> int | None:
    """The length that the client goes by (RFC 9112, section 6.3); None if only the last piece ends the body."""
    if method == "HEAD" or start["status"] in (204, 304):
        return 0
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value)
    return None


def install() -> None:
    """Has Starlette's background tasks, which FastAPI uses too, reported one by one, by name; and its streams, which
    may read the body of their request, listen for nothing but the end."""
    run, stream = BackgroundTask.__call__, StreamingResponse.__call__

    async def run_reported(self: BackgroundTask) -> None:
        call = _current.get()
        number = tasks.begin(plain_name(self.func))
        if call is not None:
            await call.begin_named()
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
                if call is not None:
                    call.end_named(number, error)
                else:
                    tasks.settle(number, error, asyncio.current_task())

    async def stream_beside_reader(self: StreamingResponse, scope: Scope, receive: Receive, send: Send) -> None:
        await stream(self, scope, scope.get(ENDED, receive), send)

    BackgroundTask.__call__ = run_reported  # type: ignore[method-assign]
    StreamingResponse.__call__ = stream_beside_reader  # type: ignore[method-assign]


def report_once(error: BaseException) -> None:
    """Reports an error of an application, unless it is known already."""
    if not _is_reported(error):
        report(error)
        _mark(error)


def _is_reported(error: BaseException) -> bool:
    """Whether it is known already, or is just Starlette's way to say that nobody is there any more."""
    return isinstance(error, ClientDisconnect | WebSocketDisconnect) or getattr(error, _REPORTED, False)


def _mark(error: Any) -> None:
    try:
        setattr(error, _REPORTED, True)
    except AttributeError:
        # An exception with slots: it will be logged twice.
        return
