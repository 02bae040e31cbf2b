import asyncio
import mmap
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from _shared.gate import case_of, gate

from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve

MIB = 2**20

heard = ""
saved = ""
kept: list[Any] = []


@add_event_listener("beforeunload")
def unloading(event: BeforeUnloadEvent) -> None:
    global heard, saved
    heard = event.detail.reason
    print("heard", heard)
    if saved:
        EdgeRuntime.wait_until(gate(f"{saved}-{heard}"), name=f"{saved}-{heard}")
    saved = ""


def pause() -> None:
    time.sleep(0.01)


def fill(count: int) -> None:
    kept.append(b"x" * (count * MIB))
    pause()


def map_memory() -> None:
    memory = mmap.mmap(-1, 2 * MIB)
    memory.write(b"x" * (2 * MIB))
    kept.append(memory)
    pause()


def until_told(work: str, doing: Callable[[], None]) -> Response:
    """Nothing else runs in the meantime: what tells it comes between two of its instructions."""
    global saved
    saved = work
    while not heard:
        doing()
    return Response(f"told {heard}")


async def compute() -> None:
    while True:
        await asyncio.sleep(0)


async def parts(work: str) -> AsyncIterator[str]:
    yield "begun"
    yield await gate(work)


CHILD = """
import time
kept = []
while True:
    kept.append(b"x" * 2**21)
    time.sleep(0.01)
"""


@serve
async def handler(request: Request) -> Response:
    global saved
    work = request.query.get("work", "")
    match case_of(request):
        case "task":
            EdgeRuntime.wait_until(gate(work), name=work)
        case "waits":
            return Response(await gate(work))
        case "streams":
            return Response(parts(work))
        case "saves":
            saved = work
        case "until-told":
            return until_told(work, pause)
        case "computes-until-told":
            return until_told(work, lambda: None)
        case "fills-until-told":
            return until_told(work, lambda: fill(1))
        case "computes":
            while True:
                pass
        case "computes-in-task":
            EdgeRuntime.wait_until(compute(), name=work)
        case "fills-bytes":
            while True:
                fill(2)
        case "fills-mmap":
            while True:
                map_memory()
        case "fills-child":
            subprocess.run([sys.executable, "-c", CHILD])
        case "fills-at-once":
            kept.append(b"x" * 2**36)
    return Response("ok")
