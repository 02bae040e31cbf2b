"""Server-sent events as text (HTML standard, section 9.2)."""

import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")
Item = str | Mapping[str, Any]

_FIELDS = ("event", "id", "retry")
_END: Any = object()


def encode(item: Item) -> str:
    """One event, its empty line included. Raises `ValueError` for a field that cannot be one line."""
    if isinstance(item, str):
        return _data(item) + "\n"
    lines = []
    for name in _FIELDS:
        if item.get(name) is not None:
            value = str(item[name])
            if "\n" in value or "\r" in value:
                raise ValueError(f"{name} of an event is one line, not {value!r}")
            lines.append(f"{name}: {value}\n")
    data = item.get("data")
    if data is not None:
        lines.append(_data(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)))
    return "".join(lines) + "\n"


def _data(text: str) -> str:
    # CR, LF and CRLF all end a line there.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "".join(f"data: {line}\n" for line in lines)


async def stream(source: AsyncIterable[Item] | Iterable[Item]) -> AsyncIterator[str]:
    items = source if isinstance(source, AsyncIterable) else in_thread(source)
    try:
        async for item in items:
            yield encode(item)
    finally:
        await close(items)


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
