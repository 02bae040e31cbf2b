from _shared.gate import gate
from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-stamp"] = "1"
        return response


async def first(work: str) -> None:
    print(f"{work} began")


async def second(work: str) -> None:
    await gate(work)


async def page(request: Request) -> Response:
    background = BackgroundTasks()
    background.add_task(first, request.query_params["work"])
    background.add_task(second, request.query_params["work"])
    return PlainTextResponse("ok", background=background)


# Each of them takes some turns of the event loop to hand on the end of the response.
app = Starlette(routes=[Route("/middleware", page)], middleware=[Middleware(Stamp)] * 3)
