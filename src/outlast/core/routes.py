"""From the path of a request to the function that it means."""

from dataclasses import dataclass
from functools import lru_cache

PREFIX = b"/functions/v1"
HEALTH = b"/_internal/health"


@dataclass(slots=True, frozen=True)
class Route:
    name: str
    target: bytes
    """What the function sees: the path from its own name on, with the query."""


@lru_cache(512)
def route(path: bytes, query: bytes) -> Route | None:
    """``/functions/v1/NAME/...`` and ``/NAME/...``; None where the path names nothing."""
    if path.startswith(PREFIX + b"/"):
        path = path[len(PREFIX) :]
    name, _, _ = path[1:].partition(b"/")
    if not name:
        return None
    return Route(name.decode("latin-1"), path + query if query else path)
