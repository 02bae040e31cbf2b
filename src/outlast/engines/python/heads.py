"""HTTP heads: turns those of the node's requests into ASGI scopes, and writes those of responses.

The requests of one client repeat their whole head but for the request id, which the node writes after the client's
fields; the responses of one function repeat theirs. So both are cached, and parsed or written anew only if they are
new.
"""

import functools
import http
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from outlast.core.errors import OutlastError
from outlast.wire import http1

CACHED_HEADS = 256
_ID = b"\r\nsb-request-id: "
_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_FIELD = re.compile(rb"%b: %b\r\n" % (http1.TOKEN, http1.TEXT))

Scope = dict[str, Any]
Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]


class BadResponse(OutlastError):
    """An application sent something that is not an HTTP response."""


class BadRequest(OutlastError):
    """Something came that is not an HTTP request."""


@dataclass(slots=True, frozen=True, eq=False)
class _Head:
    """What requests that differ only in their ids have in common."""

    scope: Scope
    fields: Fields
    length: int
    keep_alive: bool
    upgrade: bytes


@dataclass(slots=True, eq=False)
class Request:
    """The head of a request."""

    scope: Scope
    """The ASGI scope, without ``state``."""
    id: str
    length: int
    """Bytes of the body, or `http1.CHUNKED`."""
    keep_alive: bool
    upgrade: bytes
    """What the connection is to change to, or empty."""


@dataclass(slots=True, frozen=True, eq=False)
class Response:
    """The head of a response."""

    data: bytes
    """Including the blank line."""
    length: int
    """Bytes of the body that must follow, or `http1.CHUNKED`."""
    keep_alive: bool


def request(head: bytes) -> Request:
    """Parses a head as the node writes it, including the blank line. Raises `BadRequest`."""
    said, _, told = head.rpartition(_ID)
    id_, _, more = told.partition(b"\r\n")
    own: list[Field] = []
    if said and (more == b"\r\n" or more.startswith(b"traceparent: ")):
        parsed = _cached(said) if len(said) <= http1.MAX_CACHED_BYTES else _read(said)
        own.append((b"sb-request-id", id_))
        if len(more) > 2:
            own += _fields(more[:-4])
    else:
        parsed = _read(head[:-4])
        id_ = next((value for name, value in parsed.fields if name == b"sb-request-id"), b"")
    scope = parsed.scope.copy()
    scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
    scope["headers"] = [*parsed.fields, *own]
    return Request(scope, id_.decode("latin-1"), parsed.length, parsed.keep_alive, parsed.upgrade)


def _read(head: bytes) -> _Head:
    """Parses a head that is given without the end of its last line."""
    line, _, rest = head.partition(b"\r\n")
    try:
        method, target, version = line.split(b" ")
        fields = _fields(rest)
        said = dict(fields)
        length = http1.CHUNKED if b"transfer-encoding" in said else int(said.get(b"content-length", b"0"))
    except ValueError:
        raise BadRequest("this is no head of an HTTP request") from None
    client, scheme, server = introduced(fields, "http")
    path, _, query = target.partition(b"?")
    decoded = path.decode("latin-1")
    scope: Scope = {
        "type": "http",
        "http_version": version[5:].decode("latin-1"),
        "method": method.decode("latin-1"),
        "scheme": scheme,
        "path": urllib.parse.unquote(decoded) if "%" in decoded else decoded,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "client": client,
        "server": server,
    }
    connection = said.get(b"connection", b"").lower()
    upgrade = said.get(b"upgrade", b"").lower() if connection == b"upgrade" else b""
    return _Head(scope, fields, length, version == b"HTTP/1.1" and connection != b"close", upgrade)


_cached = functools.lru_cache(CACHED_HEADS)(_read)


def _fields(lines: bytes) -> Fields:
    """Raises `ValueError` for a line without a colon."""
    pairs = (line.split(b":", 1) for line in lines.split(b"\r\n"))
    return tuple((name.lower(), value.strip(b" \t")) for name, value in pairs)


def introduced(fields: Iterable[Field], scheme: str) -> tuple[tuple[str, int] | None, str, tuple[str, int]]:
    """Client, scheme and server as the client sees them; ``scheme`` is ``http`` or ``ws``.

    The node writes its own fields after those of the client, so the last field of a name is the one to believe.
    """
    said = dict(fields)
    client = None
    if b"x-outlast-peer" in said:
        host, _, port = said[b"x-outlast-peer"].decode("latin-1").rpartition(":")
        client = (host.strip("[]"), int(port) if port.isdigit() else 0)
    default_port = 80
    if said.get(b"x-forwarded-proto") == b"https":
        scheme, default_port = scheme + "s", 443
    return client, scheme, _server(said.get(b"host", b""), default_port)


def _server(host: bytes, default_port: int) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit("//" + host.decode("latin-1"))
        return parts.hostname or "", parts.port or default_port
    except ValueError:
        return "", default_port


def response(status: int, fields: Iterable[Field], method: str, keep_alive: bool) -> Response:
    """Writes a head. ``keep_alive``: whether the connection will carry another response. Raises `BadResponse`."""
    given = tuple(fields)
    try:
        return _response(status, given, method, keep_alive)
    except TypeError:
        # Pairs may be lists too (ASGI specification, "Response Start").
        return _response(status, tuple((bytes(name), bytes(value)) for name, value in given), method, keep_alive)


@functools.lru_cache(CACHED_HEADS)
def _response(status: int, fields: Fields, method: str, keep_alive: bool) -> Response:
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b""))]
    length: int | None = None
    says_close = False
    for name, value in fields:
        line = b"%b: %b\r\n" % (name, value)
        if _FIELD.fullmatch(line) is None:
            raise BadResponse(f"{name!r}: {value!r} is no field of an HTTP response")
        lines.append(line)
        match name.lower():
            case b"content-length" if length is None:
                if not value.isdigit():
                    raise BadResponse(f"content-length is {value!r}, which is no number of bytes")
                length = int(value)
            case b"transfer-encoding" if value.lower() == b"chunked":
                length = http1.CHUNKED
            case b"connection" if b"close" in value.lower():
                says_close = True
    if not keep_alive and not says_close:
        lines.append(b"connection: close\r\n")
    if method == "HEAD" or status in (204, 304):
        length = 0
    elif length is None:
        length = http1.CHUNKED
        lines.append(b"transfer-encoding: chunked\r\n")
    return Response(b"".join([*lines, b"\r\n"]), length, keep_alive and not says_close)
