"""The admin API as an ASGI application."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.admin import questions
from outlast.admin.answers import HANDLERS, json
from outlast.admin.endpoints import Endpoints
from outlast.admin.live import live
from outlast.admin.node import Node
from outlast.admin.openapi import OPERATIONS, Operation, document

Endpoint = Callable[[Request, Any], Awaitable[Response]]
"""Gets the request, and its query parameters as the operation's `Question`."""


def api(node: Node) -> Starlette:
    """Answers every request that `outlast.admin.access` lets through."""
    endpoints = Endpoints(node)
    others: dict[str, Endpoint] = {"live": partial(live, node), "document": _document}
    by_path: dict[str, dict[str, tuple[Operation, Endpoint]]] = {}
    for operation in OPERATIONS:
        endpoint = others.get(operation.name) or getattr(endpoints, operation.name)
        by_path.setdefault(operation.path, {})[operation.method] = operation, endpoint
    return Starlette(routes=[_route(*item) for item in by_path.items()], exception_handlers=HANDLERS)


def _route(path: str, by_method: dict[str, tuple[Operation, Endpoint]]) -> Route:
    """One route for all methods of a path, so that the response to any other method lists them."""

    async def answer(request: Request) -> Response:
        operation, endpoint = by_method["GET" if request.method == "HEAD" else request.method]
        return await endpoint(request, questions.read(request.query_params, operation.question))

    return Route(path, answer, methods=[*by_method])


async def _document(*_: object) -> Response:
    return json(document())
