"""The interface for tracing requests from one system to the next (W3C Trace Context).

A traced request has a `Trace`, which the gateway begins and ends, and to which the supervisor adds.
"""

from dataclasses import dataclass
from typing import Protocol

from outlast.core.outcome import RequestEnd
from outlast.wire import http1


@dataclass(slots=True, frozen=True)
class RequestEnding:
    """How a request ended."""

    status: int
    """0 if the client left before there was a response."""
    execution_id: str
    """The worker that had it; empty if none did."""
    ms: float
    """From the request's head to the end of the response."""
    failure: RequestEnd | None
    """Why the function's own response, or a part of it, is missing; None if it is complete."""
    reason: str
    """The limit that was reached, if that was it; otherwise empty."""
    refused: str
    """What was wrong with the request, if the gateway refused it; otherwise empty."""
    is_cut: bool
    """Whether the client's connection was gone before the response was complete."""


class Trace(Protocol):
    """Traces one request. Its methods never raise."""

    @property
    def context(self) -> bytes:
        """Whole header lines for the function, which say which trace and span the request belongs to."""

    def waited(self, *, is_first: bool) -> None:
        """Called when a worker takes the request after a wait. ``is_first``: it is that worker's first request."""

    def end(self, ending: RequestEnding) -> None: ...


class Tracer(Protocol):
    """Traces every request whose head was read. Never raises."""

    def begin(
        self, request_id: str, head: http1.RequestHead, *, function: str, route: str, scheme: str, client: str
    ) -> Trace:
        """``function`` and ``route`` are empty if there is no such function. ``client``: its address."""
