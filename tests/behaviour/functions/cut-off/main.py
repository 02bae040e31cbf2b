import asyncio

from _shared.gate import gate, work_of

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve


@add_event_listener("beforeunload")
def unloading(event: BeforeUnloadEvent) -> None:
    print("beforeunload", event.detail.reason)


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    EdgeRuntime.wait_until(gate(work), name=work)
    EdgeRuntime.wait_until(asyncio.sleep(0), name=f"{work}-quick")
    return Response("ok")
