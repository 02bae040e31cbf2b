from _shared.work import async_long_running_task

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    # Won't block the request, runs in the background.
    EdgeRuntime.wait_until(async_long_running_task())

    return Response("ok")
