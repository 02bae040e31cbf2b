import asyncio
import inspect
import os
from collections.abc import Callable
from typing import Any

from _shared.gate import case_of, gate, work_of

from outlast import EdgeRuntime, Request, Response, serve


async def failing(work: str) -> None:
    await gate(work)
    raise RuntimeError(f"{work} failed")


# What a request to `/tasks/CASE?work=NAME` does; what it returns is the response.


def in_handler(work: str) -> None:
    EdgeRuntime.wait_until(gate(work), name=work)


def without_name(work: str) -> None:
    EdgeRuntime.wait_until(gate(work))


def after_response(work: str) -> None:
    async def late() -> None:
        await gate(f"{work}-first")
        EdgeRuntime.wait_until(gate(work), name=work)
        print(f"{work} started")

    asyncio.create_task(late())  # noqa: RUF006, it is not to be a background task


def nested(work: str) -> None:
    async def outer() -> None:
        await gate(f"{work}-outer")
        EdgeRuntime.wait_until(gate(f"{work}-inner"), name=f"{work}-inner")

    EdgeRuntime.wait_until(outer(), name=f"{work}-outer")


def ten_thousand(work: str) -> None:
    opened = asyncio.ensure_future(gate(work))

    async def after() -> None:
        await opened
        await asyncio.sleep(0)

    for _ in range(10_000):
        EdgeRuntime.wait_until(after(), name=work)


def twice(work: str) -> list[bool]:
    task = asyncio.ensure_future(gate(work))
    return [EdgeRuntime.wait_until(task, name=work) is task, EdgeRuntime.wait_until(task, name=work) is task]


def not_awaitable(_: str) -> Any:
    return EdgeRuntime.wait_until(42)  # type: ignore[call-overload]


async def settled(work: str) -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    await task
    EdgeRuntime.wait_until(task, name=work)


def rejected(work: str) -> None:
    EdgeRuntime.wait_until(failing(work), name=work)


def three(work: str) -> None:
    async def fails() -> None:
        raise RuntimeError(f"{work}-1 failed")

    EdgeRuntime.wait_until(fails(), name=f"{work}-1")
    EdgeRuntime.wait_until(gate(f"{work}-2"), name=f"{work}-2")
    EdgeRuntime.wait_until(gate(f"{work}-3"), name=f"{work}-3")


def timeout(work: str) -> None:
    # Shielded, it reaches the gate however late it is.
    EdgeRuntime.wait_until(asyncio.shield(gate(work)), name=work, timeout=0.05)


def in_time(work: str) -> None:
    EdgeRuntime.wait_until(gate(work), name=work, timeout=60)


def stops_at_timeout(work: str) -> None:
    EdgeRuntime.wait_until(gate(work), name=work, timeout=0.3)


def wrong_options(_: str) -> str:
    work = asyncio.sleep(0)
    try:
        EdgeRuntime.wait_until(work, name=1)  # type: ignore[call-overload]
    except TypeError as error:
        return f"TypeError: {error}"
    finally:
        work.close()
    return "accepted"


def function_form(work: str) -> None:
    async def refresh() -> str:
        await gate(work)
        return "refreshed"

    task = EdgeRuntime.wait_until(refresh())
    task.add_done_callback(lambda task: print(f"{work} {task.result()}"))


def prints_later(work: str) -> None:
    async def printing() -> None:
        await gate(work)
        print(f"{work} has the environment", os.environ["SB_EXECUTION_ID"])

    EdgeRuntime.wait_until(printing(), name=work)


CASES: dict[str, Callable[[str], Any]] = {
    "in-handler": in_handler,
    "without-name": without_name,
    "after-response": after_response,
    "nested": nested,
    "ten-thousand": ten_thousand,
    "twice": twice,
    "not-awaitable": not_awaitable,
    "settled": settled,
    "rejected": rejected,
    "three-of-which-the-first-fails": three,
    "timeout": timeout,
    "in-time": in_time,
    "stops-at-timeout": stops_at_timeout,
    "wrong-options": wrong_options,
    "function-form": function_form,
    "prints-later": prints_later,
}


@serve
async def handler(request: Request) -> Response:
    answer = CASES[case_of(request)](work_of(request))
    return Response.json(await answer if inspect.iscoroutine(answer) else answer)
