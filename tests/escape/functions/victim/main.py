"""Another function: what the prober is after."""

import asyncio
import ctypes
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from outlast import Request, Response, serve

memory = ctypes.create_string_buffer(b"kept in memory")
file = Path(tempfile.gettempdir(), "kept.txt")
file.write_text("kept in a file")


where = json.dumps(
    {"pid": os.getpid(), "folder": str(file.parent.parent), "file": str(file), "address": ctypes.addressof(memory)}
)


async def until_the_client_leaves() -> AsyncIterator[str]:
    yield f"{where}\n"
    await asyncio.Event().wait()


@serve
async def handler(request: Request) -> Response:
    return Response(until_the_client_leaves() if request.url.query == "held" else where)
