"""One call of a function, and the two ends that carry it out.

A source of invocations (the gateway; later a queue, a schedule) makes an `Invocation`, hands it over with a `Reply`,
and gets an `Exchange`. What happens at the worker comes back through the `Reply`; what happens at the source goes in
through the `Exchange`. Neither end knows what the other one is.
"""

from typing import Protocol

import msgspec

from outlast.core import outcome
from outlast.core.limits import Verdict
from outlast.wire import http1
from outlast.wire.tracing import Trace


class Invocation(msgspec.Struct, eq=False):
    request_id: str
    method: bytes
    head: bytes
    """The request head as the worker will read it, its blank line included."""
    chunked: bool = False
    """The length of the body is not known: it is sent in chunks."""
    upgrades: bool = False
    """The caller offers to change the protocol of its connection (WebSocket). Then there is no body."""
    trace: Trace | None = None
    """None if the request is not traced."""


class Reply(Protocol):
    """How a source learns what becomes of its invocation.

    The calls come in this order: perhaps `proceed`; `begin`; `data`, until one of these two says ``last``. Before that,
    `fail` may come at any time and is then the last call. None of these may raise.
    """

    def proceed(self) -> None:
        """A worker has been found: send the (rest of the) body now."""

    def begin(self, head: http1.ResponseHead, execution_id: str, content: bytes, last: bool) -> None:
        """The function's response begins, with as much of its body as has arrived.

        With status 101 the connection has changed its protocol: what follows in both directions is passed on as it is.
        """

    def data(self, content: bytes, last: bool) -> None:
        """More of the body; empty only if it is the ``last``."""

    def fail(
        self,
        end: outcome.RequestEnd,
        execution_id: str,
        why: str = "",
        *,
        limit: Verdict | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """The function gives no (further) response.

        ``why``: for the log, if it says more than ``end.words``. ``limit``: the one that ended the worker, if one did.
        ``retry_after_s``: when it is worth another try; None if nobody knows.
        """

    def pause(self) -> None:
        """The worker reads the body more slowly than it comes: send no more until `resume`."""

    def resume(self) -> None: ...


class Exchange(Protocol):
    """How a source continues an invocation that it has handed over."""

    def write(self, data: bytes) -> None:
        """More of the body, not empty."""

    def finish(self) -> None:
        """The body is complete. Of an upgraded connection: the caller will send no more."""

    def cancel(self) -> None:
        """The caller is gone. The function's request is aborted; its tasks go on, and what else it does becomes one."""

    def pause(self) -> None:
        """The caller reads the response more slowly than it comes: send no more until `resume`."""

    def resume(self) -> None: ...
