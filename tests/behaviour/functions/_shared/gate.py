"""What the functions have in common: work that lasts until the test lets it go."""

import asyncio
import os
from urllib.parse import urlsplit

from outlast import Request


async def gate(name: str) -> str:
    """Returns what the test says when it opens the gate."""
    address = urlsplit(os.environ["GATE_URL"])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"GET /{name} HTTP/1.1\r\nhost: {address.netloc}\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def work_of(request: Request) -> str:
    """`?work=NAME` of the request."""
    return request.query["work"]


def case_of(request: Request) -> str:
    """`CASE` of `/FUNCTION/CASE`."""
    return [*request.path.split("/"), ""][2]
