from _shared.work import async_long_running_task

from outlast import EdgeRuntime, Request, Response, serve

# Mark the task as a background task. It is not awaited, for that would block.
EdgeRuntime.wait_until(async_long_running_task())


@serve
async def handler(request: Request) -> Response:
    return Response("ok")
