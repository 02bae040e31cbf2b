"""One HTTP/1.1 connection to a worker, by a socket of its own or a lane. It carries one exchange at a time."""

import asyncio
import math
from typing import Protocol, cast

from outlast.core import outcome
from outlast.core.errors import OutlastError
from outlast.supervisor import lane
from outlast.supervisor.exchange import Exchange
from outlast.wire import bodies, http1
from outlast.wire.idle import IdleTimer

BUSY_RETRY_AFTER_S = 1


class Owner(Protocol):
    """Represents the worker at the other end, and hears how each exchange went."""

    execution_id: str
    signs_of_life: int
    """Raised whenever the worker has sent or received something."""

    def link_done(self, link: "Link", exchange: Exchange, reusable: bool) -> None:
        """The exchange is over, whether it succeeded or failed."""

    def link_unused(self, exchange: Exchange, why: str) -> None:
        """The worker could not be reached; nothing of the exchange was sent."""

    def link_lost(self, exchange: Exchange) -> None:
        """The connection closed before the response began. The exchange has not been told."""

    @property
    def is_condemned(self) -> bool:
        """Whether the worker is being killed."""

    def cut_off(self, exchange: Exchange) -> None:
        """The connection closed in the middle of the answer: tells the exchange why. `link_done` follows."""

    def link_abandoned(self, exchange: Exchange) -> None:
        """Nobody waited for the rest of the response, and the worker may be at work on it. The connection is closed."""

    def link_misused(self, exchange: Exchange, error: OutlastError) -> None:
        """The worker sent something that is not an HTTP response. The exchange has been told; `link_done` follows."""


class Link(asyncio.Protocol):
    __slots__ = (
        "_body",
        "_buffer",
        "_exchange",
        "_has_moved",
        "_idle",
        "_idle_limit_s",
        "_loop",
        "_owner",
        "_paused",
        "_raw",
        "_reusable",
        "_scanned",
        "_transport",
        "_unused_since",
    )

    def __init__(self, owner: Owner, idle_limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._idle_limit_s = idle_limit_s
        self._transport: asyncio.Transport | None = None
        self._has_moved = False
        """Whether a response has moved it from a lane to a socket of its own. It carries no other one: the next request
        goes by the lane again, and the sockets of all those before it would stay open."""
        self._idle = IdleTimer(self._loop, self._on_silence)
        self._unused_since = math.inf
        """When its last exchange ended. Infinite before the first, for which a server waits as long as it takes."""
        # For the present exchange:
        self._exchange: Exchange | None = None
        self._buffer = b""
        """The beginning of a response head, of which ``_scanned`` bytes are known not to hold its end."""
        self._scanned = 0
        self._body: bodies.Body | None = None
        self._reusable = False
        self._raw = False
        self._paused = False

    async def open(self, path: str) -> None:
        """Opens the connection. Raises OSError."""
        await self._loop.create_unix_connection(lambda: self, path)

    async def connect(self, path: str, exchange: Exchange) -> None:
        """Opens the connection and carries its first exchange."""
        try:
            await self.open(path)
        except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError, BrokenPipeError) as error:
            self._owner.link_unused(exchange, error.strerror or str(error))
            return
        except OSError as error:
            # The worker is there: too many connections wait for it to accept them, or the node has too many files open.
            why = f"no connection to the worker could be opened: {error.strerror or error}"
            exchange.fail(outcome.RequestEnd.WORKER_BUSY, why=why, retry_after_s=BUSY_RETRY_AFTER_S)
            self._owner.link_done(self, exchange, reusable=False)
            return
        if exchange.ended:
            self._owner.link_done(self, exchange, reusable=self.is_open)
        elif not (self.is_open and self.carry(exchange)):
            self._owner.link_unused(exchange, "the worker closed it before anything was asked")

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_on_lane(self) -> bool:
        """A response can move it from a lane to a socket of its own."""
        return type(self._transport) is lane.Connection

    def is_fresh(self, longest_s: float) -> bool:
        """Whether it can carry another exchange: it is open, and has not been idle for longer than this."""
        transport = self._transport
        return (
            transport is not None and not transport.is_closing() and self._loop.time() - self._unused_since <= longest_s
        )

    def carry(self, exchange: Exchange) -> bool:
        """Begins to send it. Returns False if the connection has turned out to be closed, and nothing was sent."""
        transport = self._transport
        assert transport is not None
        self._exchange = exchange
        self._idle.expect(self._idle_limit_s)
        data = exchange.ride(self)
        transport.write(data)
        # Nothing was left to be written before, so the event loop has tried to write at once; only if that failed
        # altogether is it closing the connection now.
        if transport.is_closing():
            self._exchange = None
            exchange.put_back(data)
            return False
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the exchange asks for.

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._idle.touch()
        self._transport.write(data)

    def write_eof(self) -> None:
        if self.is_open:
            assert self._transport is not None
            self._transport.write_eof()

    def pause(self) -> None:
        if self.is_open:
            assert self._transport is not None
            self._idle.expect(0)
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self.is_open:
            assert self._transport is not None
            self._idle.expect(self._idle_limit_s)
            self._paused = False
            self._transport.resume_reading()

    def abandon(self) -> None:
        """Nobody waits for the rest of the response: the function notices by the end of the connection."""
        exchange = self._exchange
        if exchange is not None:
            self._finish(reusable=False)
            # When the connection is closed: then a function that stops at that has stopped.
            self._loop.call_soon(self._owner.link_abandoned, exchange)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._has_moved = self.is_on_lane
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # Nothing was asked, so this answers nothing.
            self.close()
            return
        self._owner.signs_of_life += 1
        try:
            if self._raw:
                self._idle.touch()
                exchange.reply.data(data, last=False)
            elif self._body is None:
                # No sign of life: a head that comes byte by byte, or after ever more interim responses, must end, too.
                self._read_head(exchange, self._buffer + data if self._buffer else data)
            else:
                self._idle.touch()
                self._read_body(exchange, self._body, data)
        except OutlastError as error:
            exchange.fail(outcome.RequestEnd.BAD_RESPONSE)
            self._owner.link_misused(exchange, error)
            self.abandon()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.reply.pause()

    def resume_writing(self) -> None:
        self._owner.signs_of_life += 1
        if self._exchange is not None:
            self._exchange.reply.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.cancel()
        exchange = self._exchange
        if exchange is None:
            return
        if self._body is None and not self._raw:
            self._exchange = None
            self._owner.link_lost(exchange)
            return
        if self._ends_with_connection:
            exchange.ended = True
            exchange.reply.data(b"", last=True)
        else:
            self._owner.cut_off(exchange)
        self._finish(reusable=False)

    @property
    def _ends_with_connection(self) -> bool:
        """Whether the response that has begun is complete now that the connection is closed."""
        if self._owner.is_condemned:
            return False
        if self._body is not None:
            try:
                self._body.eof()
            except OutlastError:
                return False
        return True

    # Reading the response.

    def _read_head(self, exchange: Exchange, buffer: bytes) -> None:
        scanned, method = self._scanned, exchange.invocation.method
        while (read := http1.read_response(buffer, method, scanned)) is not None:
            head, end = read
            buffer = buffer[end:]
            scanned = 0
            if head.status >= 200 or head.status == 101:
                self._begin(exchange, head, buffer)
                return
        self._buffer, self._scanned = buffer, len(buffer)

    def _begin(self, exchange: Exchange, head: http1.ResponseHead, rest: bytes) -> None:
        if head.status == 101:
            if not exchange.invocation.upgrades:
                raise http1.MalformedResponse("101 answers a request that asked for no other protocol")
            self._raw = True
            self._idle.touch()
            exchange.reply.begin(head, self._owner.execution_id, rest, last=False)
            return
        self._reusable = head.keep_alive
        if len(rest) == head.length:
            # The whole body has come with the head, as it mostly does.
            exchange.ended = True
            exchange.reply.begin(head, self._owner.execution_id, rest, last=True)
            self._finish(head.keep_alive)
            return
        self._idle.touch()
        body = self._body = bodies.decoder(head.length)
        content, beyond = body.feed(rest)
        last = body.done
        exchange.ended = last
        exchange.reply.begin(head, self._owner.execution_id, content, last)
        if last:
            self._finish(self._reusable and not beyond)

    def _read_body(self, exchange: Exchange, body: bodies.Body, data: bytes) -> None:
        content, beyond = body.feed(data)
        last = body.done
        exchange.ended = last
        if content or last:
            exchange.reply.data(content, last)
        if last:
            self._finish(self._reusable and not beyond)

    def _on_silence(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.fail(outcome.RequestEnd.IDLE_TIMEOUT)
            self.abandon()

    def _finish(self, reusable: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = exchange.link = self._body = None
        self._buffer = b""
        self._scanned = 0
        # A worker that answered without reading the whole request would take its rest for the next one.
        transport = self._transport
        if (
            reusable
            and not self._has_moved
            and exchange.body_complete
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        ):
            if self._paused:
                self.resume()
            # Its timer may go on: without an exchange it has no effect.
            self._unused_since = self._loop.time()
        else:
            reusable = False
            self.close()
        self._owner.link_done(self, exchange, reusable)
