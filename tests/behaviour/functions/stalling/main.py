import os
import urllib.request

from _shared.gate import work_of

from outlast import EdgeRuntime, Request, Response, serve


async def stalls(work: str) -> None:
    urllib.request.urlopen(f"{os.environ['GATE_URL']}/{work}").read()  # noqa: ASYNC210, that it blocks is the point


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    EdgeRuntime.wait_until(stalls(work), name=work)
    return Response("ok")
