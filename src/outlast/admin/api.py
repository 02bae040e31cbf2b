"""The admin API as an ASGI application."""

from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.admin import questions
from outlast.admin.answers import HANDLERS, json
from outlast.admin.endpoints import Endpoint, Endpoints
from outlast.admin.live import live
from outlast.admin.node import Node
from outlast.admin.openapi import OPERATIONS, document


def api(node: Node) -> Starlette:
    """Answers every request that `outlast.admin.access` lets through."""
    endpoints = Endpoints(node)
    others: dict[str, Endpoint] = {"live": partial(live, node), "document": _document}
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in OPERATIONS:
        endpoint = others.get(operation.name) or getattr(endpoints, operation.name)
        by_path.setdefault(operation.path, {})[operation.method] = endpoint
    return Starlette(routes=[_route(*item) for item in by_path.items()], exception_handlers=HANDLERS)


def _route(path: str, by_method: dict[str, Endpoint]) -> Route:
    """One route for all methods of a path, so that the response to any other method lists them."""

    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await by_method[method](request)

    return Route(path, answer, methods=[*by_method])


async def _document(request: Request) -> Response:
    questions.read(request.query_params, questions.Question)
    return json(document())
