import asyncio

from _shared.gate import gate, work_of

from outlast import EdgeRuntime, Request, Response, serve


async def tell_of_abort(request: Request, work: str) -> None:
    await request.disconnected()
    print(f"{work} aborted")


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    watching = asyncio.create_task(tell_of_abort(request, work))
    EdgeRuntime.wait_until(gate(work), name=work)
    try:
        return Response(await gate(f"{work}-response"))
    finally:
        watching.cancel()
