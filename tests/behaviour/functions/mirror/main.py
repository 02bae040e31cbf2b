"""Answers with the request as the function sees it."""

from outlast import Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    assert request.client is not None
    return Response.json(
        {
            "method": request.method,
            "url": str(request.url),
            "headers": dict(request.headers),
            "body": await request.text(),
            "client": f"{request.client.host}:{request.client.port}",
        }
    )
