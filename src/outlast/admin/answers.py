"""The responses of the admin API: JSON, with one form for all errors."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_ENCODER = msgspec.json.Encoder()


class Problem(NamedTuple):
    status: int
    code: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True):
    """The body of every error response."""

    code: str
    """For programs."""
    message: str
    """For people: what was wrong, and what to do."""


class Refusal(Exception):
    """Raised by an endpoint that cannot do what was asked."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(status, code, message)


def json(content: object, status: int = 200) -> Response:
    # Not for caches: it is only true now, and only for whoever has the token.
    return Response(_ENCODER.encode(content), status, {"cache-control": "no-store"}, "application/json")


def problem(found: Problem) -> Response:
    answer = json(ProblemBody(found.code, found.message), found.status)
    if found.status == 401:
        answer.headers["www-authenticate"] = 'Bearer realm="outlast admin"'
    return answer


async def refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem(error.problem)


async def not_routed(request: Request, error: Exception) -> Response:
    """Rewrites Starlette's own responses for an unknown path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        answer = problem(Problem(405, "METHOD_NOT_ALLOWED", f"{request.method} cannot be done to {request.url.path}"))
        answer.headers.update(error.headers or {})
        return answer
    return problem(
        Problem(error.status_code, "NOT_FOUND", f"there is nothing at {request.url.path}; see /openapi.json")
    )


ExceptionHandlers = dict[Any, Callable[[Request, Exception], Coroutine[Any, Any, Response]]]
HANDLERS: ExceptionHandlers = {Refusal: refusal, HTTPException: not_routed}
