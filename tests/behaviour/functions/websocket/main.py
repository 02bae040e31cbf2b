from _shared.gate import gate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from outlast import EdgeRuntime


async def plain(request: Request) -> Response:
    return PlainTextResponse("websocket, please", 426)


async def echo(socket: WebSocket) -> None:
    work = socket.query_params["work"]
    await socket.accept()
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])
    print(f"{work} closed")
    EdgeRuntime.wait_until(gate(work), name=work)


app = Starlette(routes=[Route("/websocket", plain), WebSocketRoute("/websocket", echo)])
