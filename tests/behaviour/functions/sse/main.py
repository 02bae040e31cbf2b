from collections.abc import AsyncIterator

from _shared.gate import gate, work_of

from outlast import EdgeRuntime, Request, Response, serve


async def events(work: str) -> AsyncIterator[str]:
    try:
        for n in range(1, 4):
            yield await gate(f"{work}-{n}")
    finally:
        print(f"{work} has been told")
        EdgeRuntime.wait_until(gate(f"{work}-saved"), name=f"{work}-saved")


@serve
async def handler(request: Request) -> Response:
    return Response.events(events(work_of(request)))
