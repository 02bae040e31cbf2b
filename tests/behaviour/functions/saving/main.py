from _shared.gate import gate

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve


async def save() -> None:
    print("saved", await gate("save"))


@add_event_listener("beforeunload")
def unloading(event: BeforeUnloadEvent) -> None:
    print("asked to save", event.detail.reason)
    EdgeRuntime.wait_until(save(), name="save")
    event.prevent_default()


@serve
async def handler(request: Request) -> Response:
    return Response("ok")
