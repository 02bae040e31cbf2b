import asyncio
import inspect
import itertools
import mmap
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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


def fill(mib: int, seconds: float = 0.01) -> None:
    kept.append(b"x" * (mib * MIB))
    time.sleep(seconds)


def fill_slowly(work: str) -> Response:
    """First quickly, and then so slowly that nothing is missed."""
    fill(40)
    return until_told(work, lambda: fill(1, 0.02))


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


def compute_for(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


async def compute() -> None:
    for _ in itertools.count():
        await asyncio.sleep(0)


async def parts(work: str) -> AsyncIterator[str]:
    yield "begun"
    yield await gate(work)


def start(task: Awaitable[object], work: str) -> None:
    EdgeRuntime.wait_until(task, name=work)


async def wait(work: str) -> Response:
    return Response(await gate(work))


def save(work: str) -> None:
    global saved
    saved = work


def leave_many(work: str) -> None:
    for number in range(2000):
        start(asyncio.Event().wait(), f"{work}-{number}")
    for_ever(lambda: None)


def for_ever(doing: Callable[[], None]) -> None:
    while True:
        doing()


CHILD = """
import time
kept = []
while True:
    kept.append(b"x" * 2**21)
    time.sleep(0.01)
"""

CASES: dict[str, Callable[[str], Any]] = {
    "": lambda work: None,
    "task": lambda work: start(gate(work), work),
    "waits": wait,
    "streams": lambda work: Response(parts(work)),
    "saves": save,
    "until-told": lambda work: until_told(work, pause),
    "computes-until-told": lambda work: until_told(work, lambda: None),
    "fills-until-told": fill_slowly,
    "computes": lambda work: for_ever(lambda: None),
    "leaves-many-and-computes": leave_many,
    "computes-a-little": lambda work: compute_for(0.005),
    "computes-a-while": lambda work: compute_for(0.3),
    "computes-in-task": lambda work: start(compute(), work),
    "fills-bytes": lambda work: for_ever(lambda: fill(2)),
    "fills-mmap": lambda work: for_ever(map_memory),
    "fills-child": lambda work: subprocess.run([sys.executable, "-c", CHILD]),
    "fills-at-once": lambda work: kept.append(b"x" * 2**36),
}
"""What a request to `/NAME/CASE?work=NAME` does, on the event loop unless it is async."""


@serve
async def handler(request: Request) -> Response:
    answer = CASES[case_of(request)](request.query.get("work", ""))
    if inspect.isawaitable(answer):
        answer = await answer
    return answer if isinstance(answer, Response) else Response("ok")
