"""One background task of 10 ms for each request."""

import asyncio

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.sleep(0.010))
    return Response("ok")
