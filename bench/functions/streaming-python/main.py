"""A body of so many MiB, made in pieces as the client takes them."""

from collections.abc import AsyncIterator

from outlast import Request, Response, serve

CHUNK = bytes(65536)


@serve
async def handler(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(int(request.query["mib"]) * 16):
            yield CHUNK

    return Response(chunks())
