"""Iterables that a handler returns: how those that are not async are read, and how generators are left."""

import threading
from collections.abc import AsyncIterator, Generator, Iterable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")

_END: Any = object()


async def in_thread(source: Iterable[T]) -> AsyncIterator[T]:
    """What it yields. If it is a generator, its own `finally` runs in a thread, too, when it is left."""
    iterator = iter(source)
    # Whoever is cancelled has a thread left that may still be in it.
    turn = threading.Lock()

    def following() -> T:
        with turn:
            return next(iterator, _END)

    try:
        while (item := await run_in_threadpool(following)) is not _END:
            yield item
    except BaseException:
        if isinstance(iterator, Generator):
            await run_in_threadpool(_close, iterator, turn)
        raise


def _close(generator: Generator[object], turn: threading.Lock) -> None:
    with turn:
        generator.close()


async def close(source: object) -> None:
    """Closes an async generator, whose own `finally` would belong to no request if the garbage collector ran it."""
    if (aclose := getattr(source, "aclose", None)) is not None:
        await aclose()
