"""A client's connection, as cheap as Python makes it: what the load costs is taken from the server that is measured."""

import re
import socket
from time import perf_counter, time
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 30.0
MAX_IDLE_S = 2.0
"""Servers close connections that are idle for longer."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


class BenchError(Exception):
    """The measurement cannot be made, or means nothing."""


class Answer(NamedTuple):
    """What came of one request."""

    due_at: float
    """Seconds since the epoch, to be compared with a log."""
    latency_ms: float
    """Since it was due, which is before it was sent where the client was late."""
    status: int
    """0 if there was none."""
    text: str
    """The body, or what went wrong."""


class Target(NamedTuple):
    """What a URL says of where to ask for what."""

    address: tuple[str, int]
    request: bytes

    @classmethod
    def of(cls, url: str) -> "Target":
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls((parts.hostname, parts.port), f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())


class Connection:
    """One request after the other. Nothing waits but `connect`; readiness is the caller's business."""

    __slots__ = ("_received", "_socket", "due", "fileno", "free_since")

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=PATIENCE_S)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.fileno = self._socket.fileno()
        self.due = 0.0
        """By `perf_counter`; of the request that is under way."""
        self.free_since = 0.0

    def ask(self, request: bytes, due: float) -> None:
        """Raises OSError."""
        self.due = due
        self._socket.send(request)

    def read(self) -> tuple[int, bytes] | None:
        """Status and body (still in chunks if it came so), or None if there is more to come. Raises OSError."""
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("closed without an answer")
        if self._received:
            data = self._received + data
        head, end, body = data.partition(b"\r\n\r\n")
        if end and self._is_whole(head + b"\r\n", body):
            self._received = b""
            return int(head[9:12]), body
        self._received = data
        return None

    def _is_whole(self, head: bytes, body: bytes) -> bool:
        if length := _LENGTH.search(head):
            return len(body) >= int(length[1])
        if _CHUNKED.search(head):
            return body.endswith(_LAST_CHUNK)
        raise ConnectionError("an answer that does not say how long it is")

    def close(self) -> None:
        self._socket.close()


def get(url: str) -> Answer:
    """One request over a connection of its own, which is not reused. Raises BenchError unless it is answered by 200."""
    target = Target.of(url)
    due_at, due = time(), perf_counter()
    request = target.request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(target.address, timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"{url} answered {received[:300]!r}")
    if _CHUNKED.search(head + b"\r\n"):
        body = _dechunked(body)
    return Answer(due_at, (perf_counter() - due) * 1000, 200, body.decode(errors="replace"))


def _dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
