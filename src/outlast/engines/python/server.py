"""An HTTP/1.1 server for one client, the node, which sends well-formed requests one after the other on a connection.

ASGI applications get what that specification says (version 2.3 of its HTTP part). A response that is at hand as a whole
is written at once, with `Stream.respond`.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Message

from outlast.core.errors import OutlastError
from outlast.engines.python import heads
from outlast.runtime.serving import internal_server_error
from outlast.wire import bodies, http1

MAX_UNREAD = 64 * 1024
"""Bytes of a request's body, or of what follows it, from which on the connection is not read any further."""
MAX_HEAD = 2 * http1.MAX_HEAD_BYTES
"""The node adds to the heads of its clients."""
HEAD_WAITS_S = 0.01
"""How long a head with a Content-Length waits for the body, to leave together with it."""
JOINED = 64 * 1024
"""Up to this many bytes, copying a body behind its head is cheaper than sending it separately."""
SENDS_IN_VAIN = 64
"""After so many messages for a client that is gone, the event loop has a turn."""

DISCONNECT = "http.disconnect"
_TOO_LONG = "the response is longer than its Content-Length or its status (204, 304) allows"


class Stream:
    """One request and its response."""

    __slots__ = (
        "_arrived",
        "_complete",
        "_connection",
        "_content",
        "_finished",
        "_head",
        "_in_vain",
        "_keep_alive",
        "_length",
        "_loop",
        "_told_last",
        "ended",
        "gone",
        "request_id",
        "scope",
        "started",
        "task",
    )

    def __init__(self, connection: "Connection", head: heads.Request, loop: asyncio.AbstractEventLoop) -> None:
        self.scope = head.scope
        self.request_id = head.id
        self.task: asyncio.Task[None] | None = None
        self.started = False
        """Whether the head of the response has been written, or is about to be."""
        self.ended = False
        """Whether the client has the whole response: then the connection is not this request's any more."""
        self.gone = False
        """Whether the connection was lost before that."""
        self._connection = connection
        self._loop = loop
        self._keep_alive = head.keep_alive
        # Of the request.
        self._content = b""
        """The part of its body that has come but was not asked for yet."""
        self._complete = head.length == 0
        self._told_last = False
        self._arrived: asyncio.Event | None = None
        # Of the response.
        self._head = b""
        """The head, while it waits for the body."""
        self._length = 0
        """Bytes of the body that must follow, or `http1.CHUNKED`."""
        self._in_vain = 0
        """How many messages have been sent after the client was gone."""
        self._finished = False
        """Whether the application has said that this was all. The client goes by the length, and may know it before."""

    # For the application.

    async def receive(self) -> Message:
        while not self._is_over:
            if self._content or (self._complete and not self._told_last):
                content, self._content = self._content, b""
                self._told_last = self._complete
                return {"type": "http.request", "body": content, "more_body": not self._complete}
            if not self.ended:
                self._connection.read()
            await self._news()
        return {"type": DISCONNECT}

    async def disconnected(self) -> Message:
        """A `receive` for who only waits for the end: it leaves the body to its reader.

        Beside more than `MAX_UNREAD` bytes that nobody reads, the end is noticed when something is sent.
        """
        while not self._is_over:
            await self._news()
        return {"type": DISCONNECT}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        expected = "http.response.body" if self.started else "http.response.start"
        if kind != expected or self._finished:
            raise RuntimeError(
                f"{kind} was sent {'after the end of the response' if self._finished else f'for {expected}'}"
            )
        if not self.ended and (drained := self._connection.drained) is not None:
            await drained.wait()
        if self.ended:
            await self._take_rest(message.get("body", b""), message.get("more_body", False))
            return
        if self._connection.is_closing:
            # The event loop, which would say so, waits for an application that only sends.
            self.lose()
        if self.gone:
            await self._pretend(kind, message.get("more_body", False))
        elif self.started:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            self._start(message["status"], message.get("headers", ()))
            if self._length == http1.CHUNKED:
                self._send_head()
            else:
                # The body probably comes at once.
                self._loop.call_later(HEAD_WAITS_S, self._send_head)

    def respond(self, response: Response) -> None:
        """Sends a response as a whole; only its status, headers and body count. Raises `heads.BadResponse`."""
        if not self.gone:
            self._start(response.status_code, response.raw_headers)
            self._send_body(bytes(response.body), more=False)

    def fail(self) -> None:
        """The application's call is over. Unless the response is complete, that is an error."""
        if self.gone:
            return
        if self.ended:
            self._finish()
        elif self.started and not self._head:
            self._connection.close()
        else:
            self.respond(internal_server_error())

    @property
    def _is_over(self) -> bool:
        """Whether the application is told that nobody is there any more.

        Frameworks interrupt a stream for that. So what it does behind its last byte, such as to store what it has sent,
        is left to come to its end.
        """
        if self.gone or self._finished:
            return True
        # Nobody looks at the stream that answers HEAD, and it may be endless. Of a request, no more will come.
        return self.ended and (self.scope["method"] == "HEAD" or not self._complete)

    async def _take_rest(self, body: bytes, more: bool) -> None:
        """What the application sends when the client has the whole response."""
        if self.scope["method"] != "HEAD" and body:
            raise heads.BadResponse(_TOO_LONG)
        if more:
            # Nothing is written that it would ever wait for, and it must hear that it is over.
            await asyncio.sleep(0)
        else:
            self._finish()

    async def _pretend(self, kind: str, more: bool) -> None:
        """The client is gone, and the application goes on as if it had been answered: with its background tasks."""
        self.started = True
        self._finished = kind == "http.response.body" and not more
        self._in_vain += 1
        if self._in_vain % SENDS_IN_VAIN == 0:
            # Frameworks interrupt a stream, best where it waits itself. But this one keeps the loop from doing so.
            await asyncio.sleep(0)

    def _finish(self) -> None:
        self._finished = True
        self._wake()

    async def _news(self) -> None:
        """Returns when there may be something to receive."""
        if self._arrived is None:
            self._arrived = asyncio.Event()
        self._arrived.clear()
        await self._arrived.wait()

    # For the connection.

    def feed(self, content: bytes, last: bool) -> int:
        """Takes a part of the body. Returns how many bytes wait to be asked for."""
        if self.ended:
            return 0
        self._content = self._content + content if self._content else content
        self._complete = last
        self._wake()
        return len(self._content)

    def lose(self) -> None:
        if not self.gone:
            self.gone = True
            self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    def _start(self, status: int, fields: Iterable[heads.Field]) -> None:
        head = heads.response(status, fields, self.scope["method"], self._keep_alive)
        self.started = True
        self._head, self._length, self._keep_alive = head.data, head.length, head.keep_alive

    def _send_head(self) -> None:
        if self._head and not self.gone:
            self._connection.write(self._head)
            self._head = b""
            if not self._length:
                self._end()

    def _send_body(self, body: bytes, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
            self._length = 0
        elif self._length == http1.CHUNKED:
            body = bodies.chunk(body) if body else b""
            if not more:
                body += bodies.LAST_CHUNK
        else:
            self._length -= len(body)
            if self._length < 0:
                raise heads.BadResponse(_TOO_LONG)
            if self._length and not more:
                raise heads.BadResponse("the response is shorter than its Content-Length")
        head, self._head = self._head, b""
        if len(body) <= JOINED:
            self._connection.write(head + body if head else body)
        else:
            self._connection.write(head)
            self._connection.write(body)
        self._finished = not more
        if self._finished or not self._length:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._wake()
        self._connection.next(self._keep_alive)


class Connection(asyncio.Protocol):
    """Calls ``serve`` for each request, as a task that the stream refers to."""

    __slots__ = (
        "_body",
        "_buffer",
        "_context",
        "_loop",
        "_paused",
        "_serve",
        "_stream",
        "_transport",
        "_upgrade",
        "drained",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        serve: Callable[[Stream], Coroutine[Any, Any, None]],
        upgrade: Callable[[asyncio.Transport, bytes, str], None],
    ) -> None:
        """``upgrade`` takes over a connection that asks for WebSocket, with what has come on it and the request id."""
        self._loop = loop
        self._serve = serve
        self._upgrade = upgrade
        self._transport: asyncio.Transport
        self._context: contextvars.Context
        self._paused = False
        self._buffer = b""
        """Bytes not parsed yet: the beginning of a head, or a request that came before its turn."""
        self._stream: Stream | None = None
        """The request that is being answered."""
        self._body: bodies.Body | None = None
        """Decodes the request's body; None once that is complete."""
        self.drained: asyncio.Event | None = None
        """Wait for it before writing more; None if there is no need to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._context = contextvars.copy_context()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            if self._body is not None:
                data = self._feed(self._body, data)
            if data:
                self._take(data)
        except OutlastError:
            self._refuse()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.lose()
        self.resume_writing()

    def pause_writing(self) -> None:
        self.drained = asyncio.Event()

    def resume_writing(self) -> None:
        if self.drained is not None:
            self.drained.set()
            self.drained = None

    # For the stream.

    def read(self) -> None:
        """The stream waits for more of the body, or for the end of the connection."""
        # While reading is paused, nobody hears of that end. So only what is behind the body is a reason to stay paused.
        if len(self._buffer) <= MAX_UNREAD:
            self._resume_reading()

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        """Closes the connection after what was written has been sent."""
        self._transport.close()

    def next(self, keep_alive: bool) -> None:
        """The response is complete."""
        self._stream = None
        if self._transport.is_closing():
            return
        if keep_alive:
            self._resume_reading()
            if self._buffer:
                # The next request must not run in this one's context.
                self._loop.call_soon(self.data_received, b"", context=self._context)
        elif self._body is None or not self._transport.can_write_eof():
            self._transport.close()
        else:
            # Closing while the request still comes would reset the connection, and the node might lose the response.
            self._transport.write_eof()
            self._resume_reading()

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # Reading.

    def _take(self, data: bytes) -> None:
        """Takes the beginning of a request, or a part of one."""
        if self._stream is not None:
            self._buffer = data
            self._pause(len(data))
            return
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(data) > MAX_HEAD:
                raise heads.BadRequest(f"the head is longer than {MAX_HEAD} bytes")
            self._buffer = data
            return
        rest = data[end:]
        head = heads.request(data[:end] if rest else data)
        if head.upgrade == b"websocket":
            self._upgrade(self._transport, data, head.id)
            return
        stream = self._stream = Stream(self, head, self._loop)
        stream.task = self._loop.create_task(self._serve(stream))
        if head.length:
            body = self._body = bodies.decoder(head.length)
            rest = self._feed(body, rest)
        if rest:
            self._take(rest)

    def _feed(self, body: bodies.Body, data: bytes) -> bytes:
        content, beyond = body.feed(data)
        if body.done:
            self._body = None
        if self._stream is not None and (content or body.done):
            self._pause(self._stream.feed(content, body.done))
        return beyond

    def _pause(self, unread: int) -> None:
        if unread > MAX_UNREAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _refuse(self) -> None:
        if self._stream is None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self._transport.close()
