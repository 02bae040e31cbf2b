from _shared.gate import gate

from outlast import EdgeRuntime, Request, Response, serve

EdgeRuntime.wait_until(gate("warm-up"), name="warm-up")


@serve
async def handler(request: Request) -> Response:
    return Response("ok")
