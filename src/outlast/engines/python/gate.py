"""Stands between the server and the function's application: every request passes through here."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.engines.python import heads
from outlast.engines.python.calls import Call, WebSocketCall, report_once
from outlast.engines.python.server import Stream
from outlast.runtime import memory, reports
from outlast.runtime.context import request_id
from outlast.runtime.requests import Request
from outlast.runtime.responses import ENDED, is_whole
from outlast.runtime.serving import HandlerApp

TURNS_TO_ARRIVE = 16
"""Of the event loop, between the news that a request is abandoned and the request, which comes by another socket."""


class Gate:
    """``on_request`` is called as each request begins, ``on_end`` when the last of its code has run, ``on_exit`` for
    `sys.exit`."""

    def __init__(
        self, on_request: Callable[[], None], on_end: Callable[[], None], on_exit: Callable[[SystemExit], None]
    ) -> None:
        self.app: ASGIApp | None = None
        self.state: dict[str, Any] = {}
        """The state of the application's lifespan; each request gets a copy."""
        self._running: dict[str, Stream | Call] = {}
        """What runs the code of each request, by its id. A handler has a `Call` only if it goes on without
        its client."""
        self._on_request = on_request
        self._on_end = on_end
        self._on_exit = on_exit

    @property
    def is_busy(self) -> bool:
        """Whether the code of any request is still running."""
        return len(self._running) > 0

    async def serve(self, stream: Stream) -> None:
        """Answers an HTTP request."""
        app = self.app
        assert app is not None, "no request comes before the worker is ready"
        id_ = stream.request_id
        request_id.set(id_)
        stream.scope["state"] = self.state.copy()
        # Nothing else keeps the task alive once the connection has moved on to the next request.
        self._running[id_] = stream
        self._on_request()
        try:
            if isinstance(app, HandlerApp):
                await _answer(app, stream)
            else:
                call = self._running[id_] = _call_of(stream)
                stream.scope[ENDED] = stream.disconnected
                try:
                    await call.run(app, stream.receive)
                finally:
                    stream.scope.pop(ENDED, None)
                if not (stream.ended or stream.gone):
                    reports.log("error", "the application has returned without a complete response")
        except SystemExit as exit_:
            self._on_exit(exit_)
        except BaseException as error:
            memory.make_room(error)
            if isinstance(left := self._running[id_], Call):
                left.end(error)
            report_once(error)
        finally:
            stream.fail()
            if isinstance(left := self._running.pop(id_), Call):
                left.end()
            self._on_end()

    def lost(self, id_: str, turns: int = TURNS_TO_ARRIVE) -> None:
        """The client of a request is gone."""
        running = self._running.get(id_)
        if isinstance(running, Stream):
            running = self._running[id_] = _call_of(running)
        if running is not None:
            running.leave()
        elif turns:
            asyncio.get_running_loop().call_soon(self.lost, id_, turns - 1)

    def lost_all(self) -> None:
        """No request has a client any more."""
        for id_ in self._running:
            self.lost(id_)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a WebSocket: an ASGI application."""
        app = self.app
        assert app is not None, "no request comes before the worker is ready"
        headers = scope["headers"]
        id_ = next((value.decode("latin-1") for name, value in headers if name == b"sb-request-id"), "")
        request_id.set(id_)
        scope["client"], scope["scheme"], scope["server"] = heads.introduced(headers, "ws")
        call = self._running[id_] = WebSocketCall(id_, scope, send)
        self._on_request()
        try:
            await call.run(app, receive)
        except SystemExit as exit_:
            self._on_exit(exit_)
        finally:
            del self._running[id_]
            self._on_end()


async def _answer(app: HandlerApp, stream: Stream) -> None:
    request = Request(stream.scope, stream.receive)
    answer = await app.answer(request)
    if answer is None:
        return
    if is_whole(answer):
        stream.respond(answer)
    else:
        await answer(stream.scope, stream.disconnected, stream.send)


def _call_of(stream: Stream) -> Call:
    return Call(stream.request_id, stream.scope, stream.send)
