"""Leaves a task open for long, where it is asked to."""

import asyncio

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    if request.query:
        EdgeRuntime.wait_until(asyncio.sleep(600))
    return Response("ok")
