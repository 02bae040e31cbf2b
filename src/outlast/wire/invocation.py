"""One call of a function, and the two ends that see it through.

A source of invocations (the gateway; later a queue, a schedule) makes an `Invocation`, hands it over with a `Reply`,
and gets an `Exchange`. What happens at the worker comes back through the `Reply`; what happens at the source goes in
through the `Exchange`. Neither end knows what the other one is.
"""

from typing import Protocol

import msgspec

from outlast.core import outcome
from outlast.wire import http1
from outlast.wire.tracing import Trace


class Invocation(msgspec.Struct, eq=False):
    function: str
    request_id: str
    method: bytes
    head: bytes
    """The request head as the worker will read it, its blank line included."""
    chunked: bool = False
    """The body has no known length: it is sent in chunks."""
    upgrades: bool = False
    """The caller offers to change the protocol of its connection (WebSocket)."""
    trace: Trace | None = None
    """None where no traces are wanted."""


class Reply(Protocol):
    """How a source learns what came of its invocation.

    `proceed` may come first; then `begin`, and `data` until one of the two said ``last``. `fail` may come at any time
    before that. None of these may raise.
    """

    def proceed(self) -> None:
        """A worker has been found: now is the time for the (rest of the) body."""

    def begin(self, head: http1.ResponseHead, execution_id: str, content: bytes, last: bool) -> None:
        """The answer of the function, with as much of its body as is there.

        With status 101 the connection has changed its protocol: what follows both ways is passed on as it is.
        """

    def data(self, content: bytes, last: bool) -> None:
        """More of the body; empty only where it is the ``last``."""

    def fail(self, end: outcome.RequestEnd, execution_id: str, why: str = "", **detail: object) -> None:
        """There will be no (further) answer of the function.

        ``why``: for the log, where it is more than ``end.words``. ``detail``: what else the caller may know.
        """

    def pause(self) -> None:
        """The worker takes the body slower than it comes: send no more until `resume`."""

    def resume(self) -> None: ...


class Exchange(Protocol):
    """How a source goes on with an invocation that it has handed over."""

    def write(self, data: bytes) -> None:
        """More of the body, not empty."""

    def finish(self) -> None:
        """The body is complete. Of an upgraded connection: the caller will send no more."""

    def cancel(self) -> None:
        """The caller is gone. The function's request is aborted; its tasks go on."""

    def pause(self) -> None:
        """The caller takes the response slower than it comes."""

    def resume(self) -> None: ...
