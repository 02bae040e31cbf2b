import sys

from _shared.work import log_error, long_running_task

from outlast import EdgeRuntime, Request, Response, serve


async def work() -> None:
    try:
        await long_running_task()
    except RuntimeError as error:
        print("Background task error:", error, file=sys.stderr)
        # Log to an error tracking service
        await log_error(error)


@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(work())
    return Response.json({"ok": True})
