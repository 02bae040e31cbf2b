"""The least function there is: what is left to measure is everything else."""

from outlast import Request, Response, serve


@serve
async def handler(_: Request) -> Response:
    return Response("ok")
