"""The function ``burning-python`` without Outlast: the task is left to itself. For uvicorn."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

_tasks: set[asyncio.Task[None]] = set()


async def work() -> None:
    await asyncio.sleep(0.005)
    until = time.thread_time() + 0.020
    while time.thread_time() < until:
        pass


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "http":
        task = asyncio.get_running_loop().create_task(work())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
