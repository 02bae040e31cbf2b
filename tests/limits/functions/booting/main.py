"""What it does at the top level is the name of its folder."""

import os
import threading
import time
from pathlib import Path

from outlast import Request, Response, serve

kept: list[bytes] = []

match Path(__file__).parent.name.split("-")[0]:
    case "awaits":
        threading.Event().wait()
    case "computes":
        while True:
            pass
    case "fills":
        while True:
            kept.append(b"x" * 2**21)
            time.sleep(0.01)
    case "throws":
        raise RuntimeError("not today")


@serve
async def handler(request: Request) -> Response:
    if request.path.endswith("/exit"):
        os._exit(7)
    return Response("ok")
