"""20 ms of computing in the background for each request."""

import asyncio
import time

from outlast import EdgeRuntime, Request, Response, serve


async def work() -> None:
    await asyncio.sleep(0.015)
    until = time.thread_time() + 0.020
    while time.thread_time() < until:
        pass


@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(work())
    return Response("ok")
