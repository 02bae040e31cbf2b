from typing import Any
from urllib.parse import parse_qs

from _shared.gate import gate


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Receives nothing: neither the body of a request, nor what a WebSocket has to say."""
    kind = scope["type"]
    assert kind != "lifespan"
    if kind == "websocket":
        await send({"type": "websocket.accept"})
    [work] = parse_qs(scope["query_string"].decode())["work"]
    await gate(work)
    print(f"{work} saved")
    if kind == "http":
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
