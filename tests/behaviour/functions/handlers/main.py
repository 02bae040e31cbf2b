import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

from _shared.gate import case_of

from outlast import Request, Response, serve


def throws() -> Response:
    raise RuntimeError("the handler threw")


async def rejects() -> Response:
    await asyncio.sleep(0)
    raise RuntimeError("the handler rejected")


async def breaks_off() -> AsyncIterator[str]:
    yield "one, "
    await asyncio.sleep(0)
    raise RuntimeError("the body broke off")


CASES: dict[str, Any] = {
    "throws": throws,
    "rejects": rejects,
    "returns-nothing": lambda: None,
    "returns-text": lambda: "text",
    "stops-in-its-body": lambda: Response(breaks_off()),
}


@serve
async def handler(request: Request) -> Any:
    answer = CASES[case_of(request)]()
    return await answer if inspect.isawaitable(answer) else answer
