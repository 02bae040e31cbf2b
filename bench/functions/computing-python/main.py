"""3 ms of computing for each request: its workers are replaced because of their CPU time."""

import asyncio
import time

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(_: Request) -> Response:
    EdgeRuntime.wait_until(asyncio.sleep(0.010))
    until = time.perf_counter() + 0.003
    while time.perf_counter() < until:
        pass
    return Response("ok")
