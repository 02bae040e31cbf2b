"""Writes the request head for a worker anew: no byte of the client's framing reaches it."""

from dataclasses import dataclass
from functools import lru_cache

from outlast.wire import http1

# Only the gateway sets these. A client that sends them is not believed, unless it is a trusted proxy.
_FORWARDED = frozenset([b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"])
_OURS = frozenset([b"sb-request-id", b"x-sb-execution-id", b"x-outlast-peer"])
_NOT_PASSED_ON = _FORWARDED | _OURS
_NOT_PASSED_ON_WITH_CONTEXT = _NOT_PASSED_ON | {b"traceparent", b"tracestate"}


@dataclass(slots=True, frozen=True, eq=False)
class Origin:
    """Who is at the other end of a client connection."""

    address: bytes
    port: int
    local: bytes
    """Host and port that the connection came in at, for requests without a Host."""
    trusted: bool
    """Whether it is a proxy whose X-Forwarded fields count."""


def authority(address: bytes, port: int) -> bytes:
    """Address and port as they are written in a URL."""
    return b"[%b]:%d" % (address, port) if b":" in address else b"%b:%d" % (address, port)


def request_head(head: http1.RequestHead, target: bytes, request_id: bytes, origin: Origin) -> bytes:
    return b"%bsb-request-id: %b\r\n\r\n" % (_without_id(head, target, origin), request_id)


def request_head_with_context(
    head: http1.RequestHead, target: bytes, request_id: bytes, origin: Origin, context: bytes
) -> bytes:
    """``context``: whole field lines that replace the client's trace context (W3C Trace Context)."""
    written = _without_context(head, target, origin)
    return b"%bsb-request-id: %b\r\n%b\r\n" % (written, request_id, context)


@lru_cache(http1.CACHED_HEADS)
def _without_id(head: http1.RequestHead, target: bytes, origin: Origin) -> bytes:
    """Cached: the same head comes as the same object, from the same connection, and is written the same way again."""
    return _written(head, target, origin, _NOT_PASSED_ON)


@lru_cache(http1.CACHED_HEADS)
def _without_context(head: http1.RequestHead, target: bytes, origin: Origin) -> bytes:
    return _written(head, target, origin, _NOT_PASSED_ON_WITH_CONTEXT)


def _written(head: http1.RequestHead, target: bytes, origin: Origin, not_passed_on: frozenset[bytes]) -> bytes:
    host = _forwarded_host(head, origin) or head.host or origin.local
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, target, host)]
    lines += [b"%b: %b\r\n" % field for field in head.fields if field[0] not in not_passed_on]
    if origin.trusted:
        lines.append(_appended(head, host, origin))
    else:
        lines.append(
            b"x-forwarded-for: %b\r\nx-forwarded-host: %b\r\nx-forwarded-proto: http\r\n" % (origin.address, host)
        )
    lines.append(b"x-outlast-peer: %b\r\n" % authority(origin.address, origin.port))
    if head.length == http1.CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif head.length or head.method in (b"POST", b"PUT", b"PATCH"):
        # RFC 9110 section 8.6: a method that means content says so even where there is none.
        lines.append(b"content-length: %d\r\n" % head.length)
    if head.upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade)
    return b"".join(lines)


def _forwarded_host(head: http1.RequestHead, origin: Origin) -> bytes:
    """The host that the client has asked for, if a proxy says so; it may have written a Host of its own."""
    host = first_hop(head.fields, b"x-forwarded-host") if origin.trusted else b""
    return host if http1.is_host(host) else b""


def _appended(head: http1.RequestHead, host: bytes, origin: Origin) -> bytes:
    hops = b", ".join([*http1.values(head.fields, b"x-forwarded-for"), origin.address])
    proto = first_hop(head.fields, b"x-forwarded-proto") or b"http"
    return b"x-forwarded-for: %b\r\nx-forwarded-host: %b\r\nx-forwarded-proto: %b\r\n" % (hops, host, proto)


def first_hop(fields: http1.Fields, name: bytes) -> bytes:
    """What the proxy next to the client says in such a field, to which each further one may have added; or nothing."""
    return b",".join(http1.values(fields, name)).partition(b",")[0].strip(b" \t").lower()
