"""Server-sent events as text (HTML standard, section 9.2)."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

from outlast.runtime import iterables

Item = str | Mapping[str, Any]

_FIELDS = ("event", "id", "retry")


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
    items = source if isinstance(source, AsyncIterable) else iterables.in_thread(source)
    try:
        async for item in items:
            yield encode(item)
    finally:
        await iterables.close(items)
