"""What is told of a request to whoever follows it from one system to the next (W3C Trace Context).

A request that is followed has a `Trace`, which the gateway begins and ends, and the supervisor sees on its way.
"""

from dataclasses import dataclass
from typing import Protocol

from outlast.core.outcome import RequestEnd
from outlast.wire import http1


@dataclass(slots=True, frozen=True)
class RequestEnding:
    """How a request ended."""

    status: int
    """0 if the client left before there was an answer."""
    execution_id: str
    """Of the worker that it was with; empty if it was with none."""
    ms: float
    """From its head to the end of its answer."""
    failure: RequestEnd | None
    """Where the function's own answer did not come, or not to its end."""
    reason: str
    """Of that, where there is one: the limit that was reached."""
    refused: str
    """What was wrong with the request, where the gateway refused it."""
    is_cut: bool
    """Whether the client's connection was gone before the answer was complete."""


class Trace(Protocol):
    """Follows one request. Its methods never raise."""

    @property
    def context(self) -> bytes:
        """For the function: whole field lines of a head that say where in which trace it is."""

    def waited(self, *, is_first: bool) -> None:
        """A worker takes it only now. ``is_first``: it is the first that this worker takes."""

    def end(self, ending: RequestEnding) -> None: ...


class Tracer(Protocol):
    """Follows every request whose head was read. Never raises."""

    def begin(
        self, request_id: str, head: http1.RequestHead, *, function: str, route: str, scheme: str, client: str
    ) -> Trace:
        """``function`` and ``route`` are empty for what nobody serves. ``client``: its address."""
