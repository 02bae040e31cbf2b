"""Finds the function that the path of a request names."""

from dataclasses import dataclass
from functools import lru_cache

PREFIX = b"/functions/v1"
HEALTH = b"/_internal/health"


@dataclass(slots=True, frozen=True)
class Route:
    name: str
    target: bytes
    """The path that the function sees, from its own name on, with the query."""


@lru_cache(512)
def route(path: bytes, query: bytes) -> Route | None:
    """Accepts ``/functions/v1/NAME/...`` and ``/NAME/...``; None if the path names no function."""
    if path.startswith(PREFIX + b"/"):
        path = path[len(PREFIX) :]
    name, _, _ = path[1:].partition(b"/")
    if not name:
        return None
    return Route(name.decode("latin-1"), path + query if query else path)
