from _shared.work import async_long_running_task

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve

EdgeRuntime.wait_until(async_long_running_task())


@add_event_listener("beforeunload")
def shutting_down(event: BeforeUnloadEvent) -> None:
    print("Function shutting down:", event.detail.reason)
    # Save state, log progress, clean up


@serve
async def handler(request: Request) -> Response:
    return Response.json({"ok": True})
