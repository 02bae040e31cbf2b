"""Another function: what the prober is after."""

import ctypes
import os
import tempfile
from pathlib import Path

from outlast import Request, Response, serve

memory = ctypes.create_string_buffer(b"kept in memory")
file = Path(tempfile.gettempdir(), "kept.txt")
file.write_text("kept in a file")


@serve
async def handler(request: Request) -> Response:
    where = {"pid": os.getpid(), "folder": str(file.parent.parent), "file": str(file)}
    return Response.json({**where, "address": ctypes.addressof(memory)})
