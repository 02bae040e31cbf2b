"""What ``wait_until`` adds to tasks that are there anyway: microseconds for each, as JSON. ``call_us`` is how much
longer the call takes than starting a bare task; ``task_us`` also has all that it makes happen until they have settled.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from outlast import EdgeRuntime, Request, Response, serve

TASKS = 200
TURNS = 50


async def task() -> None:
    await asyncio.sleep(0)


async def measure(start: Callable[[Coroutine[Any, Any, None]], Any]) -> tuple[float, float]:
    calls = tasks = 0.0
    for _ in range(TURNS):
        began = time.perf_counter()
        started = [start(task()) for _ in range(TASKS)]
        calls += time.perf_counter() - began
        await asyncio.gather(*started)
        await asyncio.sleep(0)
        tasks += time.perf_counter() - began
    return calls, tasks


@serve
async def handler(_: Request) -> Response:
    bare = await measure(asyncio.create_task)
    kept = await measure(EdgeRuntime.wait_until)
    call_us, task_us = ((ours - theirs) * 1e6 / (TASKS * TURNS) for ours, theirs in zip(kept, bare, strict=True))
    return Response.json({"call_us": call_us, "task_us": task_us})
