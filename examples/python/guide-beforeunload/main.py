from _shared.work import async_long_running_task

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve

EdgeRuntime.wait_until(async_long_running_task())


# Use the beforeunload event to be notified when the function is about to shut down
@add_event_listener("beforeunload")
def about_to_end(event: BeforeUnloadEvent) -> None:
    print("Function will be shutdown due to", event.detail.reason)
    # Save state or log the current progress


@serve
async def handler(request: Request) -> Response:
    return Response("ok")
