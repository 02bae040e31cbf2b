"""Finds the function that the path of a request names."""

import re
from dataclasses import dataclass
from functools import lru_cache

PREFIX = b"/functions/v1"
HEALTH = b"/_internal/health"
_OTHER_SERVICE = re.compile(rb"/(auth|graphql|realtime|rest|storage)/v1(/|\Z)")


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
    return Route(name.decode("latin-1"), path + query)


def is_other_service(path: bytes) -> bool:
    """Whether it is the path of a service that Supabase's clients look for at the same URL as functions."""
    return _OTHER_SERVICE.match(path) is not None
