from _shared.work import async_long_running_task

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    # Mark the background task (don't await it!)
    EdgeRuntime.wait_until(async_long_running_task())

    # Return the response immediately
    return Response.json({"success": True})
