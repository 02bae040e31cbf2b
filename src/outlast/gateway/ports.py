"""What the gateway needs from other parts, and what its connections share."""

import sys
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
        """Takes over a request. ``body``: what has come of its body; ``complete``: whether that is all of it.

        Before it returns, it may call ``reply.proceed``, ``pause`` and ``fail``, but not ``begin``.
        """


class Verifier(Protocol):
    """Decides who may call a function that checks tokens."""

    def check(self, authorization: bytes | None) -> Denial | Pending | None:
        """None: the request may pass."""


class Served(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A request that has ended, as the log has it."""

    function: str = ""
    """Empty if there is no such function: a client may ask for any name."""
    execution_id: str = ""
    request_id: str
    method: str = ""
    path: str = ""
    client: str = ""
    """Its address, where the head could not be read: nothing else tells then whose request it was."""
    status: int
    """0 if the client left before there was a response."""
    ms: float
    first_byte_ms: float | None = None
    """When the response began, if it did not come all at once."""
    why: str = msgspec.field(default="", name="msg")
    """What was wrong with it, if it was refused; or why the function's own response, or a part of it, is missing."""


@dataclass(frozen=True)
class Timeouts:
    """In seconds."""

    head_s: float = 10.0
    """From the first byte of a request head to its last."""
    body_s: float = 30.0
    """Longest silence in the middle of a request body."""
    send_s: float = 60.0
    """For a client that does not read what it is sent."""
    keep_alive_s: float = 75.0
    """Between two requests."""
    linger_s: float = 2.0
    """For a client to read why it was refused, before its connection is closed."""


@dataclass(frozen=True)
class Ports:
    """Everything that a connection uses."""

    services: Mapping[str, Service]
    verifier: Verifier
    on_served: Callable[[str, int, float, Callable[[], Served]], None]
    """Called once for each request whose head was read, when it has ended, with function, status and milliseconds, and
    with a function that returns the whole `Served`, which few need."""
    on_unread: Callable[[Served], None]
    """Called once for each request that was refused before its head was read."""
    trust_proxy: bool = False
    tracer: Tracer | None = None
    """None: requests are not traced."""
    timeouts: Timeouts = Timeouts()
    max_files: int = sys.maxsize
    """A connection is refused if so many files are open. More have to be possible, to serve those that are there."""
