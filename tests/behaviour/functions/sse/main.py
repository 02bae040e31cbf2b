from collections.abc import AsyncIterator

from _shared.gate import gate, work_of

from outlast import Request, Response, serve


async def events(work: str) -> AsyncIterator[str]:
    for n in range(1, 4):
        yield await gate(f"{work}-{n}")


@serve
async def handler(request: Request) -> Response:
    return Response.events(events(work_of(request)))
