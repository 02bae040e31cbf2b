import asyncio

from _shared.gate import gate, work_of

from outlast import Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    """Stops when its client leaves."""
    work = asyncio.create_task(gate(work_of(request)))
    await request.disconnected()
    work.cancel()
    print("stopped")
    return Response()
