"""One request, from its head to the end of its response."""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Protocol

from outlast.core import ids, outcome, routes
from outlast.core.limits import Verdict
from outlast.gateway import answers, forward
from outlast.gateway.auth import Denial, Pending, credential
from outlast.gateway.ports import Ports, Served, Service
from outlast.wire import bodies, http1
from outlast.wire.invocation import Exchange, Invocation
from outlast.wire.tracing import Trace

MAX_METHOD_CHARS, MAX_PATH_CHARS = 32, 2_000
"""So much of a request is logged and recorded: clients may send longer ones."""

# Ids need not be secret, only unique.
_ids = ids.Sequence(random.Random().getrandbits)  # noqa: S311


class Client(Protocol):
    """The connection that a request came by, as its call sees it."""

    origin: forward.Origin
    is_last: bool
    """Whether the connection closes after this response. A call may set it, and never takes it back."""

    def send(self, data: bytes) -> None: ...

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """The same as sending them joined, without the copying."""

    def read(self, wanted: bool) -> None:
        """Says whether more of the request's body, or of a tunnel, is wanted now."""

    def take_early(self) -> bytes:
        """Takes what has come after the request, which is tunnel data rather than another request."""

    def answered(self) -> None:
        """The whole response was sent. This call does nothing more."""

    def cut(self, reset: bool) -> None:
        """Ends the connection in the middle of a response. ``reset``: a normal close would make it look complete."""


class Call:
    """Implements `outlast.wire.invocation.Reply`."""

    __slots__ = (
        "_checking",
        "_chunked",
        "_client",
        "_content",
        "_exchange",
        "_execution_id",
        "_first_byte_at",
        "_function",
        "_head",
        "_missing",
        "_ms",
        "_ports",
        "_refused",
        "_request_id",
        "_started_at",
        "_until_close",
        "body",
        "status",
        "tunnel",
    )

    # `outlast.gateway.traced` overrides these. Here they cost a request nothing.
    _trace: Trace | None = None
    _worker_head = staticmethod(forward.request_head)

    def __init__(self, client: Client, ports: Ports, head: http1.RequestHead) -> None:
        self._client = client
        self._ports = ports
        self._head = head
        self._started_at = time.perf_counter()
        self._request_id = new_request_id(time.time_ns())
        self._function = ""
        self._checking: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._execution_id = ""
        self._first_byte_at = self._ms = 0.0
        self._refused = ""
        """What was wrong with the request."""
        self._missing = ""
        """Why the function's answer, or a part of it, did not come."""
        self._chunked = False
        """Whether the response is sent in chunks."""
        self._until_close = False
        """Whether the response ends with the connection."""
        self._content = b""
        """The part of the body that came together with the head."""
        self.body = bodies.decoder(head.length) if head.length else None
        """Decodes the rest of the request's body; None when it is complete."""
        self.status = 0
        """Of the response, once its head has been sent."""
        self.tunnel = False
        """Whether the connection has changed its protocol, and just carries what both ends send."""

    # What the connection tells.

    def receive(self, data: bytes) -> bytes:
        """Takes more of the body, or of the tunnel's data. Returns what follows the body. Raises BadBody."""
        body, exchange = self.body, self._exchange
        if body is None:
            if self.tunnel and exchange is not None:
                exchange.write(data)
                return b""
            return data
        content, beyond = body.feed(data)
        if body.done:
            self.body = None
        if exchange is None:
            self._content = content
            return beyond
        if content:
            exchange.write(content)
        if body.done:
            exchange.finish()
        return beyond

    def serve(self) -> None:
        """Finds the function, and hands the request over. Call it once, after `receive` got what came with the head."""
        head = self._head
        if head.path == routes.HEALTH:
            self._answer(200, b'{"message":"ok"}', answers.JSON)
            return
        found = routes.route(head.path, head.query)
        service = self._ports.services.get(found.name) if found is not None else None
        if found is None or service is None:
            is_other = routes.is_other_service(head.path)
            self.fail(outcome.RequestEnd.OTHER_SERVICE if is_other else outcome.RequestEnd.NOT_FOUND, "")
            return
        self._function = found.name
        if not service.verify_jwt or head.method == b"OPTIONS":
            self._hand_over(service, found)
        else:
            self._check(service, found)

    def refuse(self, why: str, status: int) -> None:
        """The rest of the request cannot be read, or does not come: nothing after it will be read either."""
        self._client.is_last = True
        self._refused = why
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        if self.status:
            self._client.cut(self._until_close)
            return
        self._answer(status, b"%b\n" % why.encode(), answers.TEXT, code=answers.code_of(status))

    def hang_up(self) -> None:
        """The client has closed its side of the tunnel."""
        if self._exchange is not None:
            self._exchange.finish()

    def lost(self) -> None:
        """The client is gone before its response was complete."""
        if self._checking is not None:
            self._checking.cancel()
        if self._exchange is not None:
            self._exchange.cancel()
        if not (self._refused or self._missing or self.tunnel):
            self._missing = "the client left before its answer was complete"
        self._report()

    def give_up(self, why: str) -> None:
        """The connection is about to be cut, by no fault of the function's."""
        self._missing = self._missing or why

    def hold(self, held: bool) -> None:
        """Says whether the client reads the response more slowly than it comes."""
        if self._exchange is None:
            return
        if held:
            self._exchange.pause()
        else:
            self._exchange.resume()

    # On the way to the function.

    def _check(self, service: Service, found: routes.Route) -> None:
        verdict = self._ports.verifier.check(credential(self._head.fields))
        if isinstance(verdict, Pending):
            self._checking = asyncio.get_running_loop().create_task(self._check_later(service, found, verdict))
        else:
            self._heed(service, found, verdict)

    async def _check_later(self, service: Service, found: routes.Route, pending: Pending) -> None:
        verdict = await pending.resolve()
        self._checking = None
        self._heed(service, found, verdict)

    def _heed(self, service: Service, found: routes.Route, denial: Denial | None) -> None:
        if denial is None:
            self._hand_over(service, found)
            return
        self._refused = denial.reason
        challenge = ((b"www-authenticate", denial.challenge),)
        self._answer(denial.status, denial.body, denial.content_type, challenge, code=denial.code)

    def _hand_over(self, service: Service, found: routes.Route) -> None:
        head, complete = self._head, self.body is None
        invocation = Invocation(
            request_id=self._request_id,
            method=head.method,
            head=self._worker_head(head, found.target, self._request_id.encode(), self._client.origin),
            chunked=head.length == http1.CHUNKED,
            upgrades=head.upgrade is not None,
            trace=self._trace,
        )
        content, self._content = self._content, b""
        exchange = service.submit(invocation, self, content, complete)
        if not self.status:
            self._exchange = exchange

    # What happens at the function (`outlast.wire.invocation.Reply`).

    def proceed(self) -> None:
        if self.body is not None:
            if self._head.expects_continue:
                self._client.send(answers.CONTINUE)
            self._client.read(True)

    def begin(self, head: http1.ResponseHead, execution_id: str, content: bytes, last: bool) -> None:
        self._execution_id = execution_id
        self.status = head.status
        if head.length < 0 or head.status == 101 or self.body is not None:
            self._settle_framing(head)
        client = self._client
        if self._chunked:
            content = self._framed(content, last)
        minor_version = self._head.minor_version
        client.send(answers.forwarded(head, content, minor_version, client.is_last, self._request_id, execution_id))
        if last:
            self._end()
            return
        self._first_byte_at = time.perf_counter()
        if self.tunnel:
            assert self._exchange is not None
            # In this order: the worker may have enough of what came early.
            client.read(True)
            if early := client.take_early():
                self._exchange.write(early)

    def data(self, content: bytes, last: bool) -> None:
        if self._chunked and len(content) >= bodies.LARGE:
            self._client.send_pieces(bodies.chunk_pieces(content))
            content = b""
        if framed := self._framed(content, last) if self._chunked else content:
            self._client.send(framed)
        if last:
            self._end()

    def fail(
        self,
        end: outcome.RequestEnd,
        execution_id: str,
        why: str = "",
        *,
        limit: Verdict | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self._missing = why or end.words
        if self.status:
            self._client.cut(self._until_close)
            return
        self._execution_id = execution_id
        fields = ((b"retry-after", b"%d" % retry_after_s),) if retry_after_s is not None else ()
        content_type, body = answers.body_of(end, execution_id, limit)
        self._answer(end.status, body, content_type, fields, code=end.code)

    def pause(self) -> None:
        if self.body is not None or self.tunnel:
            self._client.read(False)

    def resume(self) -> None:
        if self.body is not None or self.tunnel:
            self._client.read(True)

    # The answer.

    def _settle_framing(self, head: http1.ResponseHead) -> None:
        """Decides how the client learns where the response ends, and what happens to the connection then."""
        if self.body is not None:
            # The function responded before it had the whole request, and may not read the rest of it.
            self._client.is_last = True
        if head.status == 101:
            self.tunnel = self._client.is_last = True
        elif head.length < 0 and self._head.minor_version == 1:
            self._chunked = True
        elif head.length < 0:
            self._until_close = self._client.is_last = True

    def _framed(self, content: bytes, last: bool) -> bytes:
        framed = bodies.chunk(content) if content else b""
        return framed + bodies.LAST_CHUNK if last else framed

    def _answer(self, status: int, body: bytes, content_type: bytes, fields: http1.Fields = (), code: str = "") -> None:
        """Responds in the gateway's own name, perhaps before the whole request was read."""
        if self.body is not None:
            self._client.is_last = True
        self.status = status
        written = answers.answer(
            status,
            body,
            content_type=content_type,
            fields=fields,
            code=code,
            request_id=self._request_id,
            execution_id=self._execution_id,
            connection=self._connection_field(),
            with_body=self._head.method != b"HEAD",
        )
        self._client.send(written)
        self._end()

    def _connection_field(self) -> bytes:
        if self._client.is_last:
            return b"close"
        return b"" if self._head.minor_version else b"keep-alive"

    def _end(self) -> None:
        self._exchange = None
        self._report()
        self._client.answered()

    def _report(self) -> None:
        self._ms = (time.perf_counter() - self._started_at) * 1000
        self._ports.on_served(self._function, self.status, self._ms, self._served)

    def _served(self) -> Served:
        return Served(
            function=self._function,
            method=self._head.method[:MAX_METHOD_CHARS].decode("latin-1"),
            path=self._head.path[:MAX_PATH_CHARS].decode("latin-1"),
            status=self.status,
            ms=round(self._ms, 2),
            first_byte_ms=round((self._first_byte_at - self._started_at) * 1000, 2) if self._first_byte_at else None,
            request_id=self._request_id,
            execution_id=self._execution_id,
            why=self._refused or self._missing,
        )


def new_request_id(unix_ns: int) -> str:
    return _ids.next(unix_ns // 1_000_000)
