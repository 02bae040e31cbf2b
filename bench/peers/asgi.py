"""The functions of the same names as bare ASGI applications: a task is left to itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNK = bytes(65536)

_tasks: set[asyncio.Task[None]] = set()


async def burn() -> None:
    await asyncio.sleep(0.015)
    until = time.thread_time() + 0.020
    while time.thread_time() < until:
        pass


def _start(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _ok(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def later(scope: Message, receive: Receive, send: Send) -> None:
    _start(asyncio.sleep(0.010))
    await _ok(send)


async def burning(scope: Message, receive: Receive, send: Send) -> None:
    _start(burn())
    await _ok(send)


async def plain(scope: Message, receive: Receive, send: Send) -> None:
    await _ok(send)


async def streaming(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(parse_qs(scope["query_string"])[b"mib"][0]) * 16):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
