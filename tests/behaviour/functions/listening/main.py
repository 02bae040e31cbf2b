import asyncio

from _shared.gate import case_of, gate, work_of

from outlast import Request, Response, UnhandledRejectionEvent, add_event_listener, serve


@add_event_listener("unhandledrejection")
def unhandled(event: UnhandledRejectionEvent) -> None:
    print("heard", event.reason, "with its promise" if isinstance(event.promise, asyncio.Task) else "alone")
    if "serious" not in str(event.reason):
        event.prevent_default()


async def lost(work: str, text: str) -> None:
    await gate(work)
    raise RuntimeError(f"{work} {text}")


@serve
async def handler(request: Request) -> Response:
    asyncio.create_task(lost(work_of(request), case_of(request)))  # noqa: RUF006, what nobody awaits is the point
    return Response("ok")
