from _shared.work import long_running_task

from outlast import EdgeRuntime, Request, Response, UnhandledRejectionEvent, add_event_listener, serve


@add_event_listener("unhandledrejection")
def unhandled(event: UnhandledRejectionEvent) -> None:
    print("unhandledrejection", event.reason)
    event.prevent_default()


@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(long_running_task())

    return Response.json({"ok": True})
