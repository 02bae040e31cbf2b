from _shared.gate import gate, work_of

from outlast import Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    """Does not care whether its client is there."""
    work = work_of(request)
    told = await gate(work)
    if told == "fail":
        raise RuntimeError(f"{work} failed")
    print(f"{work} saved")
    return Response(work)
