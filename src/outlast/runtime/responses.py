"""The response that a handler returns: Fetch's API in Python's spelling. Starlette and FastAPI take it, too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeVar, cast

import starlette.responses
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope, Send

from outlast.runtime import iterables, reports, sse

Chunk = str | bytes | bytearray | memoryview
Body = Chunk | Iterable[Chunk] | AsyncIterable[Chunk] | None
HeadersInit = Mapping[str, str] | Iterable[tuple[str, str]]
RawHeaders = list[tuple[bytes, bytes]]

R = TypeVar("R", bound="Response")

ENDED = "outlast.ended"
"""Names in a request's scope a ``receive`` for who waits for nothing but the end: it leaves the body to its reader."""

_NULL_BODY = (101, 204, 205, 304)
_REDIRECTS = (301, 302, 303, 307, 308)


class Response(starlette.responses.Response):
    """``Response(body, status=200, headers={...})``.

    Args:
        body: text, bytes, None, or an iterator or generator of text and bytes. A sync one runs in a thread. If the
            client leaves in the middle, the generator is closed: its ``finally`` runs.
        status: 200 to 599.
        headers: a mapping, or pairs if a name occurs twice.

    Raises `ValueError` for an invalid status or header, and `TypeError` for a body that cannot be sent.
    """

    def __init__(
        self,
        body: Body = None,
        status: int = 200,
        headers: HeadersInit | None = None,
        *,
        background: BackgroundTask | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"a response's status is a number from 200 to 599, not {status!r}")
        self.status_code = status
        self.background = background
        self.raw_headers = raw = _raw(headers) if headers is not None else []
        self._stream: AsyncIterable[Chunk] | None = None
        self.body = b""
        if isinstance(body, str):
            self.body = body.encode()
            _set_default(raw, b"content-type", b"text/plain;charset=UTF-8")
        elif isinstance(body, bytes | bytearray | memoryview):
            self.body = bytes(body)
        elif body is not None:
            self._stream = _chunks(body)
        if status in _NULL_BODY:
            if self.body or self._stream is not None:
                raise ValueError(f"a response with status {status} has no body")
        elif self._stream is None:
            _set_default(raw, b"content-length", b"%d" % len(self.body))

    @property
    def status(self) -> int:
        return self.status_code

    @classmethod
    def json(cls: type[R], data: Any, status: int = 200, headers: HeadersInit | None = None) -> R:
        """A response with ``data`` as JSON. Raises `TypeError` or `ValueError` if JSON cannot represent it."""
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        raw = _raw(headers) if headers is not None else []
        _set_default(raw, b"content-type", b"application/json")
        response = cls(text.encode(), status)
        response.raw_headers = [*raw, *response.raw_headers]
        return response

    @classmethod
    def redirect(cls: type[R], url: object, status: int = 302) -> R:
        """A redirect to ``url``. Raises `ValueError` for a status that does not redirect."""
        if status not in _REDIRECTS:
            raise ValueError(f"{status} does not redirect: use one of {', '.join(map(str, _REDIRECTS))}")
        return cls(None, status, {"location": starlette.responses.RedirectResponse(str(url)).headers["location"]})

    @classmethod
    def events(
        cls: type[R], source: AsyncIterable[sse.Item] | Iterable[sse.Item], headers: HeadersInit | None = None
    ) -> R:
        """Server-sent events. An item is the text of an event, or a mapping with ``data`` (text, or anything that JSON
        can represent), ``event``, ``id`` and ``retry`` (milliseconds)."""
        raw = _raw(headers) if headers is not None else []
        _set_default(raw, b"content-type", b"text/event-stream")
        _set_default(raw, b"cache-control", b"no-cache")
        response = cls(sse.stream(source), 200)
        response.raw_headers = raw
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # The refusal of one, by an application of another framework.
            send = self._wrap_websocket_denial_send(send)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._stream is not None:
            if scope.get("method") != "HEAD":
                await _until_disconnected(scope.get(ENDED, receive), _send_all(self._stream, send))
            reports.flush()
        await send({"type": "http.response.body", "body": self.body})
        if self.background is not None:
            await self.background()


def is_whole(response: starlette.responses.Response) -> bool:
    """Whether its status, headers and body are all that there is to it, so that it need not be called to be sent."""
    call = type(response).__call__
    if response.background is not None:
        return False
    if call is Response.__call__:
        return cast(Response, response)._stream is None
    return call is starlette.responses.Response.__call__


async def _send_all(stream: AsyncIterable[Chunk], send: Send) -> None:
    try:
        async for chunk in stream:
            body = chunk.encode() if isinstance(chunk, str) else bytes(chunk)
            await send({"type": "http.response.body", "body": body, "more_body": True})
    finally:
        await iterables.close(stream)


async def _until_disconnected(receive: Receive, work: Any) -> None:
    """Runs ``work`` in this task, whose context it has, and cancels it there when the client is gone."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def stop(watch: asyncio.Task[None]) -> None:
        nonlocal gone
        if not watch.cancelled():
            gone = True
            task.cancel()

    watch = asyncio.get_running_loop().create_task(_disconnected(receive))
    watch.add_done_callback(stop)
    try:
        await work
    except asyncio.CancelledError:
        if not gone or task.uncancel() > 0:
            raise
    finally:
        watch.remove_done_callback(stop)
        watch.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunks(body: object) -> AsyncIterable[Chunk]:
    if isinstance(body, AsyncIterable):
        return body
    if isinstance(body, Mapping) or not isinstance(body, Iterable):
        raise TypeError(
            f"a response's body is str, bytes or an iterator of these, not {type(body).__name__}: "
            "for JSON, write Response.json(...)"
        )
    return iterables.in_thread(body)


def _raw(headers: HeadersInit) -> RawHeaders:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    for name, value in raw:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"the value of header {name.decode('latin-1')!r} holds a line end or NUL")
    return raw


def _set_default(raw: RawHeaders, name: bytes, value: bytes) -> None:
    for present, _ in raw:
        if present == name:
            return
    raw.append((name, value))
