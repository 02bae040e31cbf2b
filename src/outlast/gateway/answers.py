"""Response heads, and the responses that the gateway gives in its own name."""

import json
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from outlast.core.limits import Verdict
from outlast.core.outcome import RequestEnd
from outlast.wire import http1

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {546: b"Resource Limit"}

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_NAMES = {status.value: status.name for status in HTTPStatus} | {414: "URI_TOO_LONG"}
"""Of 414, Python 3.12 has another name than 3.13."""

_READABLE = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
]
"""For web pages of other origins, which would learn nothing of a failure otherwise, not even that it was one."""

# Only the gateway sets these.
_OURS = frozenset([b"sb-request-id", b"x-sb-execution-id"])


def forwarded(
    head: http1.ResponseHead, content: bytes, minor_version: int, is_last: bool, request_id: str, execution_id: str
) -> bytes:
    """A worker's response head as the client gets it, with the beginning of what follows it.

    ``minor_version``: of the client's HTTP. ``is_last``: the connection ends with the answer.
    """
    without_id = _without_id(head, minor_version, is_last, execution_id, _date(int(time.time())))
    return b"%bsb-request-id: %b\r\n\r\n%b" % (without_id, request_id.encode(), content)


@lru_cache(http1.CACHED_HEADS)
def _without_id(head: http1.ResponseHead, minor_version: int, is_last: bool, execution_id: str, date: bytes) -> bytes:
    """Cached: the parser returns the same object for the same head, which is written the same way for a second."""
    fields = [field for field in head.fields if field[0] not in _OURS]
    if not http1.values(head.fields, b"date"):
        # RFC 9110 section 6.6.1: whoever forwards a response without it adds it.
        fields.append((b"date", date))
    return b"HTTP/1.1 %d %b\r\n%b%bx-sb-execution-id: %b\r\n" % (
        head.status,
        head.reason,
        b"".join([b"%b: %b\r\n" % field for field in fields]),
        _framing(head, minor_version, is_last),
        execution_id.encode(),
    )


def _framing(head: http1.ResponseHead, minor_version: int, is_last: bool) -> bytes:
    """The fields that say where the response ends, and what happens to the connection then."""
    if head.status == 101:
        assert head.upgrade is not None
        return b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
    length = b""
    if head.length >= 0:
        # Without a body (HEAD, 304) it says how long that would be; a 204 has no length.
        if head.declared_length is not None and head.declared_length >= 0 and head.status != 204:
            length = b"content-length: %d\r\n" % head.declared_length
    elif minor_version == 1:
        length = b"transfer-encoding: chunked\r\n"
    if is_last:
        return length + b"connection: close\r\n"
    return length if minor_version else length + b"connection: keep-alive\r\n"


def code_of(status: int) -> str:
    """Value of ``sb-error-code`` where it says no more than the status."""
    return _NAMES[status]


def answer(
    status: int,
    body: bytes,
    *,
    content_type: bytes,
    fields: http1.Fields = (),
    code: str,
    request_id: str,
    execution_id: str = "",
    connection: bytes = b"",
    with_body: bool = True,
) -> bytes:
    """A whole response. Without its body (HEAD) it still says how long that would be."""
    ours = [(b"date", _date(int(time.time()))), (b"sb-request-id", request_id.encode())]
    if code:
        ours += [(b"sb-error-code", code.encode()), *_READABLE]
    if execution_id:
        ours.append((b"x-sb-execution-id", execution_id.encode()))
    if connection:
        ours.append((b"connection", connection))
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        _REASONS.get(status, b""),
        content_type,
        len(body),
        b"".join([b"%b: %b\r\n" % field for field in [*fields, *ours]]),
        body if with_body else b"",
    )


def body_of(end: RequestEnd, execution_id: str, limit: Verdict | None) -> tuple[bytes, bytes]:
    """Content type and body of the answer to a request that ended like this; ``limit``: that of its worker, if any."""
    if end is RequestEnd.NOT_FOUND:
        return TEXT, end.message.encode()
    body: dict[str, object] = {"code": end.code, "message": end.message}
    if limit is not None:
        body |= {"reason": limit.reason, "used": limit.used, "limit": limit.limit, "execution_id": execution_id}
    return JSON, json.dumps(body).encode()


@lru_cache(maxsize=1)
def _date(unix_s: int) -> bytes:
    return formatdate(unix_s, usegmt=True).encode()
