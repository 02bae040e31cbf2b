import asyncio

from _shared.gate import case_of, gate, work_of

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve


async def lost(work: str) -> None:
    await gate(work)
    raise RuntimeError(f"{work} was lost")


async def thrown_in_timer(work: str) -> None:
    def throw() -> None:
        raise RuntimeError(f"{work} was thrown")

    await gate(work)
    asyncio.get_running_loop().call_later(0, throw)


@add_event_listener("beforeunload")
def unloading(event: BeforeUnloadEvent) -> None:
    print("beforeunload", event.detail.reason)


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    match case_of(request):
        case "lost":
            # Nobody awaits it, and it is no background task.
            asyncio.create_task(lost(work))  # noqa: RUF006
        case "in-timer":
            asyncio.create_task(thrown_in_timer(work))  # noqa: RUF006
        case "waits":
            return Response(await gate(work))
        case "task":
            EdgeRuntime.wait_until(gate(work), name=work)
    return Response("ok")
