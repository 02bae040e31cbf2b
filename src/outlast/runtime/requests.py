"""The request that a handler gets: Fetch's API in Python's spelling, on top of Starlette's."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import starlette.requests
from starlette.datastructures import URL, QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

__all__ = ["ClientDisconnect", "Request"]

MAX_AHEAD = 64 * 1024
"""Bytes of a body that are kept for its reader by those who wait for the end."""

Bytes = builtins.bytes
"""Inside the class, ``bytes`` is a method."""


class Request(starlette.requests.Request):
    """``method``, ``url``, ``headers`` (names in any case), ``cookies`` and ``client`` are as in Starlette.

    Read the body either as a whole, as often as you like (`json`, `text`, `bytes`, `form`), or once chunk by chunk
    (``async for``). Reading raises `ClientDisconnect` if the client leaves before all of it has come.
    """

    _inbox: "Inbox | None" = None
    _whole_url: URL | None = None

    @classmethod
    def make(
        cls,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Bytes | str = b"",
    ) -> "Request":
        """Makes a request for unit tests: ``await handler(Request.make("http://test/hello"))``."""
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body
        given = {"host": parts.netloc, "content-length": str(len(content)), **(headers or {})}
        messages: list[Message] = [{"type": "http.request", "body": content}]

        async def receive() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        path = parts.path or "/"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": parts.scheme or "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 0),
            "server": (parts.hostname or "", parts.port or 80),
        }
        return cls(scope, receive)

    @property
    def url(self) -> URL:
        """As the client wrote it, percent-encoding included."""
        if self._whole_url is None:
            scope = self.scope
            raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
            host = self.headers.get("host") or "{}:{}".format(*scope.get("server") or ("localhost", 80))
            query = scope.get("query_string")
            path = (raw_path + b"?" + query if query else raw_path).decode("latin-1")
            self._whole_url = URL(f"{scope.get('scheme', 'http')}://{host}{path}")
        return self._whole_url

    @property
    def path(self) -> str:
        """Decoded, from the function's own name on: ``/hello/what/ever``."""
        path: str = self.scope["path"]
        return path

    @property
    def query(self) -> QueryParams:
        """The query: ``query["page"]``, ``query.get("page")``, ``query.getlist("tag")``."""
        return self.query_params

    async def bytes(self) -> Bytes:
        return await self.body()

    async def text(self) -> str:
        """The body decoded as UTF-8; invalid bytes become U+FFFD, as in Fetch."""
        return (await self.body()).decode(errors="replace")

    async def __aiter__(self) -> AsyncIterator[Bytes]:
        async for chunk in self.stream():
            if chunk:
                yield chunk

    async def disconnected(self) -> None:
        """Returns when the client is gone or the response is complete. The body can be read at the same time.

        While 64 KiB of the body or more wait to be read, it is not noticed that the client is gone.
        """
        await self.receive.ended()

    @property
    def receive(self) -> "Inbox":
        """An ASGI ``receive``, for the reader of the body."""
        if self._inbox is None:
            self._receive = self._inbox = Inbox(self._receive)
        return self._inbox


class Inbox:
    """Shares the server's messages about one request between the reader of the body and those who wait for the end.

    Whoever waits for the end must receive messages, and may get a part of the body. That is kept for the reader. Once
    it has `MAX_AHEAD` bytes, no more is received until the reader has taken it, so that a large body does not pile up
    here; the end is not noticed meanwhile.
    """

    __slots__ = ("_came", "_kept", "_lock", "_over", "_receive", "_taken")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: MutableMapping[str, Any] | None = None
        self._came = 0
        """How many messages have been received."""
        self._over: MutableMapping[str, Any] | None = None
        self._lock = asyncio.Lock()
        self._taken = asyncio.Event()

    async def __call__(self) -> MutableMapping[str, Any]:
        """An ASGI ``receive``."""
        # What is kept needs no turn: whoever has it may be waiting for the end.
        while self._kept is None:
            if self._over is not None:
                return self._over
            await self._look()
        message, self._kept = self._kept, None
        self._taken.set()
        return message

    async def ended(self) -> MutableMapping[str, Any]:
        """An ASGI ``receive`` for who only waits for the end, such as a streamed response."""
        while self._over is None:
            if self._is_full():
                await self._taken.wait()
            else:
                await self._look()
        return self._over

    def _is_full(self) -> bool:
        kept = self._kept
        return kept is not None and kept.get("more_body", False) and len(kept.get("body", b"")) >= MAX_AHEAD

    async def _look(self) -> None:
        """Returns when one more message has come, to whomever."""
        came = self._came
        async with self._lock:
            if self._came != came:
                # It came while this waited for its turn, and it may be what others behind it are waiting for.
                return
            message = await self._receive()
            self._came += 1
            if message["type"] == "http.disconnect":
                self._over = message
            else:
                if self._kept is not None:
                    message = {**message, "body": self._kept.get("body", b"") + message.get("body", b"")}
                self._kept = message
                self._taken.clear()
