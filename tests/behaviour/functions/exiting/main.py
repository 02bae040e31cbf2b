import os
import sys

from _shared.gate import case_of, gate, work_of

from outlast import EdgeRuntime, Event, Request, Response, add_event_listener, serve


async def exit_after(work: str) -> None:
    await gate(work)
    sys.exit(0)


@add_event_listener("unload")
def unloading(event: Event) -> None:
    raise RuntimeError("the listener of unload threw")


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    match case_of(request):
        case "exit":
            sys.exit(3)
        case "waits":
            return Response(await gate(work))
        case "exit-in-task":
            EdgeRuntime.wait_until(exit_after(work), name=work)
        case "task":
            EdgeRuntime.wait_until(gate(work), name=work)
    return Response(str(os.getpid()))
