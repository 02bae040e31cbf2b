"""What the gateway needs from others, and what its connections share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from outlast.gateway.auth import Denial, Pending
from outlast.wire.invocation import Exchange, Invocation, Reply
from outlast.wire.tracing import Tracer


class Service(Protocol):
    """A function that can be called."""

    @property
    def verify_jwt(self) -> bool: ...

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        """Takes over a request. ``body``: what has come of its body; ``complete``: that this is all.

        Before it returns, it may call ``reply.proceed``, ``pause`` and ``fail``, but not ``begin``.
        """


class Verifier(Protocol):
    """Who may call a function that verifies its callers."""

    def check(self, authorization: bytes | None) -> Denial | Pending | None:
        """None: let it pass."""


class Served(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A request that has ended, as the log has it."""

    function: str = ""
    execution_id: str = ""
    request_id: str
    method: str = ""
    path: str = ""
    client: str = ""
    """Its address, where the head could not be read: nothing else tells then whose request it was."""
    status: int
    """0 if the client left before there was an answer."""
    ms: float
    first_byte_ms: float | None = None
    """When the answer began, if it did not come all at once."""
    why: str = msgspec.field(default="", name="msg")
    """What was wrong with it, where it was refused; why the function's own answer, or a part of it, is missing."""


@dataclass(frozen=True)
class Timeouts:
    """In seconds."""

    head_s: float = 10.0
    """From the first byte of a request head to its last."""
    body_s: float = 30.0
    """Silence in the middle of a request body."""
    send_s: float = 60.0
    """A client that does not take what it is sent."""
    keep_alive_s: float = 75.0
    """Between two requests."""
    linger_s: float = 2.0
    """For a client to read the answer that it was refused with, before its connection is closed."""


@dataclass(frozen=True)
class Ports:
    """Everything that a connection uses."""

    services: Mapping[str, Service]
    verifier: Verifier
    on_served: Callable[[str, int, float, Callable[[], Served]], None]
    """Called once for each request whose head was read, when it has ended: with `Served.function`, `Served.status` and
    `Served.ms`, and with what tells all of it, for which few ask."""
    on_unread: Callable[[Served], None]
    """Called once for each request that was refused before its head was read."""
    trust_proxy: bool = False
    tracer: Tracer | None = None
    """None: no traces are wanted."""
    timeouts: Timeouts = Timeouts()
