"""Response heads, and the answers that the gateway gives in its own name."""

import json
from http import HTTPStatus

from outlast.core.outcome import RequestEnd
from outlast.wire import http1

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {546: b"Resource Limit"}

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def forwarded_head(
    head: http1.ResponseHead, *, request_id: bytes, execution_id: bytes, framing: bytes, connection: bytes
) -> bytes:
    """A worker's response head as the client gets it. ``framing`` and ``connection`` are whole field lines or empty."""
    fields = b"".join([b"%b: %b\r\n" % field for field in head.fields])
    return b"HTTP/1.1 %d %b\r\n%bsb-request-id: %b\r\nx-sb-execution-id: %b\r\n%b%b\r\n" % (
        head.status,
        head.reason,
        fields,
        request_id,
        execution_id,
        framing,
        connection,
    )


def answer(
    status: int,
    body: bytes,
    *,
    content_type: bytes,
    fields: list[tuple[bytes, bytes]],
    close: bool,
    with_body: bool = True,
) -> bytes:
    """A whole response. Without its body (HEAD) it still says how long that would be."""
    lines = [b"%b: %b\r\n" % field for field in fields]
    if close:
        lines.append(b"connection: close\r\n")
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        _REASONS.get(status, b""),
        content_type,
        len(body),
        b"".join(lines),
        body if with_body else b"",
    )


def body_of(end: RequestEnd, execution_id: str, detail: dict[str, object]) -> tuple[bytes, bytes]:
    """Content type and body of the answer to a request that ended like this."""
    if end is RequestEnd.NOT_FOUND:
        return TEXT, end.message.encode()
    body: dict[str, object] = {"code": end.code, "message": end.message, **detail}
    if end is RequestEnd.WORKER_LIMIT:
        body["execution_id"] = execution_id
    return JSON, json.dumps(body).encode()
