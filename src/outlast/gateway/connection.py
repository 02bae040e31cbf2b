"""One client connection: reads requests one after the other, hands each over, writes its answer.

Requests on a connection are served in their order; what a client pipelines waits, unread past a bound. Whatever cannot
be read beyond doubt is refused and the connection closed, because nobody knows where the next request would begin.
"""

import asyncio
import random
import time
from typing import cast

from outlast.core import ids, outcome, routes
from outlast.gateway import answers, forward
from outlast.gateway.auth import Denial, Pending
from outlast.gateway.ports import Ports, Served, Service
from outlast.wire import bodies, http1
from outlast.wire.idle import IdleTimer
from outlast.wire.invocation import Exchange, Invocation

MAX_PIPELINED = 64 * 1024
"""Bytes read ahead of the request that is being served."""

_random_bits = random.SystemRandom().getrandbits


class Connection(asyncio.Protocol):
    """Implements `outlast.wire.invocation.Reply` for the request that it is serving."""

    __slots__ = (
        "_advancing",
        "_body",
        "_buffer",
        "_checking",
        "_chunked",
        "_closing",
        "_connections",
        "_exchange",
        "_execution_id",
        "_head",
        "_idle",
        "_lingering",
        "_loop",
        "_origin",
        "_ports",
        "_reading_paused",
        "_request_id",
        "_route",
        "_scanned",
        "_started_at",
        "_status",
        "_timeouts",
        "_transport",
        "_tunnel",
    )

    _transport: asyncio.Transport
    _origin: forward.Origin

    def __init__(self, ports: Ports, connections: "set[Connection]") -> None:
        # As long as the connection:
        self._ports = ports
        self._timeouts = ports.timeouts
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._idle = IdleTimer(self._loop, self._on_silence)
        self._buffer = b""
        self._scanned = 0
        self._advancing = False
        self._reading_paused = False
        self._closing = False
        """Whether the present answer is the last one."""
        self._lingering = False
        """Whether the last answer is sent, and what still comes is thrown away."""
        self._reset()

    def _reset(self) -> None:
        # As long as one request:
        self._head: http1.RequestHead | None = None
        self._route: routes.Route | None = None
        self._request_id = ""
        self._execution_id = ""
        self._started_at = 0.0
        self._body: bodies.Body | None = None
        """What is still missing of the request."""
        self._checking: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._status = 0
        """Of the answer, once its head is written."""
        self._chunked = False
        self._tunnel = False

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        peer = transport.get_extra_info("peername") or ("", 0)
        local = transport.get_extra_info("sockname") or ("", 0)
        self._origin = forward.Origin(
            address=peer[0].encode(),
            port=peer[1],
            local=f"{local[0]}:{local[1]}".encode(),
            trusted=self._ports.trust_proxy,
        )
        self._idle.expect(self._timeouts.head_s)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._tunnel:
            assert self._exchange is not None
            self._exchange.write(data)
        elif self._body is not None and self._exchange is not None:
            self._idle.touch()
            self._read_body(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            if self._head is None:
                self._advance()
            elif len(self._buffer) > MAX_PIPELINED:
                self._pause_reading()

    def eof_received(self) -> bool:
        """A client that closes its side has gone; one that only pretends to is no client of ours."""
        if self._tunnel and self._exchange is not None:
            self._exchange.finish()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._idle.cancel()
        if self._checking is not None:
            self._checking.cancel()
        if self._exchange is not None:
            self._exchange.cancel()
        if self._head is not None:
            self._report()
            self._reset()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._idle.expect(self._timeouts.send_s)
            self._exchange.pause()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._idle.expect(0 if self._body is None else self._timeouts.body_s)
            self._exchange.resume()

    def _on_silence(self) -> None:
        if self._status or (self._head is None and not self._buffer) or self._lingering:
            self._transport.abort()
        else:
            self._refuse(http1.Refusal("the request did not arrive in time", 408))

    # What its server asks for.

    def finish(self) -> None:
        """Close as soon as the request that is being served has been answered."""
        self._closing = True
        if self._head is None and not self._lingering:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # Reading requests.

    def _advance(self) -> None:
        """Reads heads and serves them, as long as there are whole ones and nothing to wait for."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._head is None and self._buffer and not self._transport.is_closing():
                end = http1.head_end(self._buffer, self._scanned)
                if end < 0:
                    if not self._scanned:
                        self._idle.expect(self._timeouts.head_s)
                    self._scanned = len(self._buffer)
                    break
                head = http1.parse_request(self._buffer[:end])
                self._buffer = self._buffer[end:]
                self._scanned = 0
                self._serve(head)
        except http1.Refusal as refusal:
            self._refuse(refusal)
        finally:
            self._advancing = False

    def _serve(self, head: http1.RequestHead) -> None:
        self._head = head
        self._idle.expect(0)
        self._started_at = time.perf_counter()
        self._request_id = ids.uuid7(time.time_ns() // 1_000_000, _random_bits(ids.RANDOM_BITS))
        if not head.keep_alive:
            self._closing = True
        if head.length:
            self._body = bodies.decoder(head.length)
            self._pause_reading()
        if head.path == routes.HEALTH:
            self._answer(200, b'{"message":"ok"}', answers.JSON)
            return
        found = self._route = routes.route(head.path, head.query)
        service = self._ports.services.get(found.name) if found is not None else None
        if found is None or service is None:
            self.fail(outcome.RequestEnd.NOT_FOUND, "")
        elif not service.verify_jwt or head.method == b"OPTIONS":
            self._hand_over(service)
        else:
            self._check(service, head)

    def _check(self, service: Service, head: http1.RequestHead) -> None:
        given = http1.values(head.fields, b"authorization")
        verdict = self._ports.verifier.check(b", ".join(given) if given else None)
        if isinstance(verdict, Pending):
            self._checking = self._loop.create_task(self._check_later(service, verdict))
        else:
            self._heed(service, verdict)

    async def _check_later(self, service: Service, pending: Pending) -> None:
        verdict = await pending.resolve()
        self._checking = None
        self._heed(service, verdict)

    def _heed(self, service: Service, denial: Denial | None) -> None:
        if denial is None:
            self._hand_over(service)
            return
        fields = [(b"www-authenticate", denial.challenge), (b"sb-error-code", denial.code.encode())]
        self._answer(denial.status, denial.body, denial.content_type, fields)

    def _hand_over(self, service: Service) -> None:
        head, found = self._head, self._route
        assert head is not None and found is not None
        content = b""
        if self._body is not None:
            try:
                content, beyond = self._body.feed(self._buffer)
            except bodies.BadBody as error:
                self._refuse(http1.Refusal(str(error)))
                return
            if self._body.done:
                self._body = None
                self._resume_reading()
            self._buffer = beyond
        invocation = Invocation(
            function=found.name,
            request_id=self._request_id,
            method=head.method,
            head=forward.request_head(head, found.target, self._request_id.encode(), self._origin),
            chunked=head.length == http1.CHUNKED,
            upgrades=head.upgrade is not None,
        )
        exchange = service.submit(invocation, self, content, self._body is None)
        if self._head is head:
            self._exchange = exchange

    def _read_body(self, data: bytes) -> None:
        assert self._body is not None and self._exchange is not None
        try:
            content, beyond = self._body.feed(data)
        except bodies.BadBody as error:
            self._refuse(http1.Refusal(str(error)))
            return
        if content:
            self._exchange.write(content)
        if self._body is not None and self._body.done:
            self._body = None
            self._buffer = beyond
            self._idle.expect(0)
            self._exchange.finish()

    # What becomes of the request (`outlast.wire.invocation.Reply`).

    def proceed(self) -> None:
        assert self._head is not None
        if self._body is not None:
            if self._head.expects_continue and not self._status:
                self._transport.write(answers.CONTINUE)
            self._idle.expect(self._timeouts.body_s)
            self._resume_reading()

    def begin(self, head: http1.ResponseHead, execution_id: str, content: bytes, last: bool) -> None:
        request = self._head
        assert request is not None
        self._execution_id = execution_id
        self._status = head.status
        framing = b""
        if head.status == 101:
            assert head.upgrade is not None
            self._tunnel = True
            self._closing = True
            connection = b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
        else:
            if self._body is not None:
                # The function answered before it had the whole request, whose rest nobody will read.
                self._closing = True
            if head.length >= 0:
                if head.declared_length is not None and head.declared_length >= 0 and head.status != 204:
                    framing = b"content-length: %d\r\n" % head.declared_length
            elif request.minor_version == 1:
                self._chunked = True
                framing = b"transfer-encoding: chunked\r\n"
            else:
                self._closing = True
            connection = b""
            if self._closing:
                connection = b"connection: close\r\n"
            elif request.minor_version == 0:
                connection = b"connection: keep-alive\r\n"
        written = answers.forwarded_head(
            head,
            request_id=self._request_id.encode(),
            execution_id=execution_id.encode(),
            framing=framing,
            connection=connection,
        )
        self._transport.write(written + self._framed(content, last))
        if last:
            self._end()
        elif self._tunnel and self._buffer and self._exchange is not None:
            early, self._buffer = self._buffer, b""
            self._exchange.write(early)

    def data(self, content: bytes, last: bool) -> None:
        if framed := self._framed(content, last):
            self._transport.write(framed)
        if last:
            self._end()

    def fail(self, end: outcome.RequestEnd, execution_id: str, **detail: object) -> None:
        if self._status:
            # Only a cut tells the client that this is not all.
            self._transport.abort()
            return
        self._execution_id = execution_id
        fields = [(b"sb-error-code", end.code.encode())]
        if isinstance(seconds := detail.pop("retry_after_s", None), int):
            fields.append((b"retry-after", b"%d" % seconds))
        content_type, body = answers.body_of(end, execution_id, detail)
        self._answer(end.status, body, content_type, fields)

    def pause(self) -> None:
        self._idle.expect(0)
        self._pause_reading()

    def resume(self) -> None:
        if self._body is not None or self._tunnel:
            self._idle.expect(0 if self._tunnel else self._timeouts.body_s)
            self._resume_reading()

    # Writing.

    def _framed(self, content: bytes, last: bool) -> bytes:
        if not self._chunked:
            return content
        framed = bodies.chunk(content) if content else b""
        return framed + bodies.LAST_CHUNK if last else framed

    def _answer(
        self, status: int, body: bytes, content_type: bytes, fields: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Answers in the gateway's own name, without having read what is missing of the request."""
        if self._body is not None:
            self._closing = True
        self._status = status
        ours = [(b"sb-request-id", self._request_id.encode())] if self._request_id else []
        if self._execution_id:
            ours.append((b"x-sb-execution-id", self._execution_id.encode()))
        written = answers.answer(
            status,
            body,
            content_type=content_type,
            fields=[*ours, *(fields or [])],
            close=self._closing,
            with_body=self._head is None or self._head.method != b"HEAD",
        )
        self._transport.write(written)
        self._end()

    def _refuse(self, refusal: http1.Refusal) -> None:
        """The bytes of this client cannot be trusted: answers, if it still can, and closes."""
        self._closing = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        if self._status:
            self._transport.abort()
        else:
            self._answer(refusal.status, f"{refusal}\n".encode(), answers.TEXT)

    def _end(self) -> None:
        """The answer is complete."""
        if self._head is not None:
            self._report()
        incomplete, tunnel = self._body is not None or self._head is None, self._tunnel
        self._reset()
        if self._closing:
            if incomplete and not tunnel:
                self._linger()
            else:
                self._transport.close()
            return
        self._idle.expect(self._timeouts.keep_alive_s)
        self._resume_reading()
        if self._buffer:
            self._advance()

    def _linger(self) -> None:
        """Closing with unread bytes would reset the connection, and take the answer away from the client."""
        self._lingering = True
        self._buffer = b""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._idle.expect(self._timeouts.linger_s)
        self._resume_reading()

    def _report(self) -> None:
        assert self._head is not None
        self._ports.on_served(
            Served(
                function=self._route.name if self._route is not None else "",
                method=self._head.method.decode("latin-1"),
                path=self._head.path.decode("latin-1"),
                status=self._status,
                ms=(time.perf_counter() - self._started_at) * 1000,
                request_id=self._request_id,
                execution_id=self._execution_id,
            )
        )

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()
