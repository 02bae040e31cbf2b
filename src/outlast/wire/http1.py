"""HTTP/1.1 message heads, sans-I/O: where a head ends, and what a strict reading of it says (RFC 9110, 9112).

How it works. Two regular expressions read a whole head: one the start line, one every field line. The second
is anchored at line starts and each of its matches runs through that line's CRLF, so "as many matches as line
feeds" means that every line is a field line from end to end: one pass both checks and takes apart. Then one
loop keeps the end-to-end fields and sets aside the few that speak about this connection or this frame.

Clients and workers send the same heads again and again, so the latest short heads that were parsed are cached: the
same bytes give the same, immutable object. A head that is refused is parsed anew each time.

Where the RFCs let a recipient choose between repairing and refusing, this module refuses: a repaired message
is read differently by the next hop, and that difference is what request smuggling is made of.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from outlast.core.errors import OutlastError

MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
MAX_CACHED_BYTES = 1024
"""A longer head is not cached: few of those repeat, and they may take a lot of memory."""
CACHED_HEADS = 512

CHUNKED = -1
"""``length`` of a message whose body is chunked."""
UNTIL_CLOSE = -2
"""``length`` of a response whose body ends when its connection does."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
"""RFC 9110 section 5.6.2, as a possessive pattern."""
TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
"""What a field value or a reason phrase may hold, as a possessive pattern."""

# Browsers send some characters raw that RFC 3986 would have encoded (`|` in paths, `{` and `\` in queries),
# so here stands all visible ASCII but `#`, and in paths without `\`, which URL parsers take for a slash.
# Only single characters are repeated possessively: Python before 3.11.5 errs on possessive groups.
_PATH = rb"/[!\"$->@-\[\]-~]*+"
_QUERY = rb"\?[!\"$-~]*+"
_AUTHORITY = rb"[!\"$-.0->A-\[\]-~]*+"
_REQUEST_LINE = re.compile(
    rb"(?:\r\n)?(%b) ((?:(?i:https?)://(%b))?(%b)?(%b)?) HTTP/1\.([01])\r\n" % (TOKEN, _AUTHORITY, _PATH, _QUERY)
)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (%b))?\r\n" % TEXT)
_FIELD = re.compile(rb"^(%b):[ \t]*+(%b)\r\n" % (TOKEN, TEXT), re.MULTILINE)
_LEGAL_SO_FAR = re.compile(rb"(?:[\t\x20-\x7e\x80-\xff]++|\r\n)*\r?")
_TOKEN = re.compile(TOKEN)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]++\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*+)?")
# An encoded slash is an ordinary character of its segment, until somebody decodes the path before walking it.
_FORBIDDEN_IN_PATH = re.compile(rb"(?:/|%2f|%5c)(?:\.|%2e){1,2}(?:/|%2f|%5c|\Z)|%00", re.IGNORECASE)

# RFC 9110 section 7.6.1, and what frames the message: each is about one hop, and whoever writes the head for
# the next hop says its own. What Connection names besides is dropped as well.
_ONE_HOP = frozenset(
    [
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
_ONE_HOP_OR_HOST = _ONE_HOP | {b"host"}
_ORDINARY_OPTIONS = frozenset([b"", b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"])

Fields = tuple[tuple[bytes, bytes], ...]
_SetAside = dict[bytes, list[bytes]]


class Refusal(OutlastError):
    """A request that is not served; its text says what was wrong with it.

    ``status`` is the answer to give (400, 414, 417 or 431). What comes behind cannot be read: the connection closes.
    """

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class MalformedResponse(OutlastError):
    """A worker's answer that cannot be passed on; its connection is of no further use."""


@dataclass(slots=True, frozen=True, eq=False)
class RequestHead:
    """A request head that passed every check.

    ``fields`` are the end-to-end fields in their order, names in lower case, values without surrounding
    white space. Not among them: Host, which is ``host`` (empty if a 1.0 request had none), and all that
    concerns one hop, framing included.
    """

    method: bytes
    path: bytes
    """Still percent-encoded; begins with a slash, has no dot segments."""
    query: bytes
    """With its leading ``?``, or empty."""
    minor_version: int
    fields: Fields
    host: bytes
    length: int
    """Bytes of the body, or ``CHUNKED``."""
    keep_alive: bool
    expects_continue: bool
    """The client waits for ``100 Continue`` before it sends the body, which is not empty."""
    upgrade: bytes | None
    """What the client asks to change to, in lower case."""


@dataclass(slots=True, frozen=True, eq=False)
class ResponseHead:
    """A response head that passed every check; ``fields`` as in ``RequestHead``."""

    status: int
    reason: bytes
    fields: Fields
    length: int
    """Bytes of the body that follows, ``CHUNKED`` or ``UNTIL_CLOSE``."""
    declared_length: int | None
    """What the fields say, None if nothing. An answer without a body (to HEAD, 304) is passed on with it."""
    keep_alive: bool
    """Whether the connection can carry another response after this one."""
    upgrade: bytes | None
    """What a 101 changes to, in lower case."""


def head_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return the index just past the empty line that ends the head at the beginning of ``buffer``, or -1.

    -1 means that more bytes are needed; once they have come, pass as ``start`` the length the buffer had.
    One empty line before the request line counts as a part of the head (RFC 9112 section 2.2).

    Raises ``Refusal`` when the head is too long, or when no further bytes could make it a legal one. What a
    complete head holds is for ``parse_request`` to judge.
    """
    end = buffer.find(b"\r\n\r\n", start - 3 if start > 3 else 0, MAX_HEAD_BYTES)
    if end >= 0:
        return end + 4
    if len(buffer) >= MAX_HEAD_BYTES:
        if buffer.find(b"\r\n", 2) < 0:
            # RFC 9112 section 3.
            raise Refusal(f"the first line is longer than {MAX_HEAD_BYTES} bytes", 414)
        raise Refusal(f"the head is longer than {MAX_HEAD_BYTES} bytes", 431)
    resume = start - 1 if start and buffer[start - 1] == 0x0D else start
    if _LEGAL_SO_FAR.fullmatch(buffer, resume) is None:
        if buffer.startswith(b"\x16\x03"):  # RFC 8446 section 5.1
            raise Refusal("the head is a TLS handshake: this port speaks http:// alone")
        raise Refusal("the head holds a control character, or a bare CR or LF")
    return -1


def parse_request(head: bytes) -> RequestHead:
    """Read a complete request head, up to and including its empty line. Raises ``Refusal``."""
    return _cached_request(head) if len(head) <= MAX_CACHED_BYTES else _parse_request(head)


def _parse_request(head: bytes) -> RequestHead:
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise Refusal(_fault_of_request_line(head))
    method, target, authority, path, query, minor = line.groups(b"")
    minor_version = 1 if minor == b"1" else 0
    fields, aside = _read_fields(head, line.end(), _ONE_HOP_OR_HOST)
    host = _host(aside.get(b"host"), minor_version)
    if target[:1] != b"/":
        host, path = _absolute_form(authority, path, host)
    if (b"%" in path or b"/." in path) and _FORBIDDEN_IN_PATH.search(path):
        raise Refusal("the path of the target has a dot segment or an encoded NUL")
    if method == b"CONNECT":
        raise Refusal("CONNECT is not served")

    length = _framing(aside, minor_version) or 0
    options = _connection_options(b",".join(aside.get(b"connection", ())))
    return RequestHead(
        method,
        path,
        query,
        minor_version,
        _without_named(fields, options),
        host,
        length,
        _keeps_alive(options, minor_version),
        b"expect" in aside and _expects_continue(aside[b"expect"]) and minor_version == 1 and length != 0,
        # RFC 9110 section 7.8: a server ignores Upgrade in a 1.0 request, and may do so in any. WebSocket begins with a
        # GET without a body (RFC 6455 section 4.1): workers refuse others, or do not read their bodies.
        _upgrade(aside, options) if minor_version == 1 and method == b"GET" and not length else None,
    )


def read_response(buffer: bytes, request_method: bytes, start: int = 0) -> tuple[ResponseHead, int] | None:
    """Read the response head at the beginning of ``buffer``, which may be an interim one (1xx).

    Return it with the index just past it; None means that more bytes are needed, for which see ``head_end``.
    ``request_method`` is the method of the request that it answers: it decides whether a body follows.

    Raises ``MalformedResponse``.
    """
    try:
        end = head_end(buffer, start)
        if end < 0:
            return None
        parse = _cached_response if end <= MAX_CACHED_BYTES else _parse_response
        return parse(buffer[:end], request_method), end
    except Refusal as refusal:
        raise MalformedResponse(str(refusal)) from None


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of every field called ``name`` (in lower case), in order."""
    return [value for field, value in fields if field == name]


def _parse_response(head: bytes, request_method: bytes) -> ResponseHead:
    line = _STATUS_LINE.match(head)
    if line is None:
        raise Refusal("the response does not begin with an HTTP/1.0 or HTTP/1.1 status line")
    minor, digits, reason = line.groups(b"")
    minor_version, status = int(minor), int(digits)
    fields, aside = _read_fields(head, line.end(), _ONE_HOP)
    if len(aside.get(b"content-length", ())) > 1:
        raise Refusal("the response has more than one Content-Length")
    declared = _framing(aside, minor_version)
    options = _connection_options(b",".join(aside.get(b"connection", ())))
    keep_alive = _keeps_alive(options, minor_version)
    upgrade = _upgrade(aside, options) if status == 101 else None

    if status < 200 and declared is not None:
        raise Refusal(f"the interim response {status} announces a body")
    if status == 101 and upgrade is None:
        raise Refusal("the response 101 does not say what it changes to")
    if status < 200 or status in (204, 304) or request_method == b"HEAD":
        length = 0
        # A worker that announces a body with its 204 may well send one, and nobody will read it.
        if status == 204 and declared:
            keep_alive = False
    elif declared is None:
        length, keep_alive = UNTIL_CLOSE, False
    else:
        length = declared
    return ResponseHead(status, reason, _without_named(fields, options), length, declared, keep_alive, upgrade)


_cached_request = lru_cache(CACHED_HEADS)(_parse_request)
_cached_response = lru_cache(CACHED_HEADS)(_parse_response)


def _read_fields(head: bytes, position: int, apart: frozenset[bytes]) -> tuple[Fields, _SetAside]:
    """Read the field lines from ``position`` on; those whose names are in ``apart`` come back by name."""
    found = _FIELD.findall(head, position)
    if len(found) + 1 != head.count(b"\n", position) or not head.endswith(b"\r\n\r\n"):
        raise Refusal(_fault_of_fields(head, position))
    if len(found) > MAX_FIELDS:
        raise Refusal(f"the head has more than {MAX_FIELDS} fields", 431)
    fields: list[tuple[bytes, bytes]] = []
    aside: _SetAside = {}
    for sent_name, value in found:
        name = sent_name.lower()
        # The pattern takes the white space before the CRLF along: to leave it would cost backtracking.
        if name in apart:
            aside.setdefault(name, []).append(value.rstrip(b" \t"))
        else:
            fields.append((name, value.rstrip(b" \t")))
    return tuple(fields), aside


def _host(hosts: list[bytes] | None, minor_version: int) -> bytes:
    """RFC 9112 section 3.2. An empty Host says that the target has no authority; http(s) targets need one."""
    if hosts is None:
        if minor_version == 0:
            return b""
        raise Refusal("the Host field is missing")
    if len(hosts) != 1:
        raise Refusal("the Host field is repeated")
    if not is_host(hosts[0]):
        raise Refusal("the Host field is not a host with an optional port")
    return hosts[0]


@lru_cache(maxsize=64)
def is_host(authority: bytes) -> bool:
    """Whether this can be the value of Host: a host with an optional port (RFC 9110 section 7.2)."""
    return _HOST.fullmatch(authority) is not None


def _absolute_form(authority: bytes, path: bytes, host: bytes) -> tuple[bytes, bytes]:
    """RFC 9112 section 3.2.2: the authority replaces Host. Where they differ, a hop may have heeded Host."""
    if not is_host(authority):
        raise Refusal("the target is neither a path nor an http(s) URI with a host")
    if host and host.lower() != authority.lower():
        raise Refusal("the target names another host than the Host field")
    return authority, path or b"/"


def _framing(aside: _SetAside, minor_version: int) -> int | None:
    """RFC 9112 section 6: the length that the fields declare, ``CHUNKED``, or None if they say nothing."""
    codings = aside.get(b"transfer-encoding")
    lengths = aside.get(b"content-length")
    if codings is None:
        return None if lengths is None else _content_length(lengths)
    if lengths is not None:
        raise Refusal("Content-Length and Transfer-Encoding exclude each other")
    if minor_version == 0:
        raise Refusal("HTTP/1.0 has no Transfer-Encoding")
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        raise Refusal("the only Transfer-Encoding served is a single 'chunked'")
    return CHUNKED


def _content_length(lengths: Iterable[bytes]) -> int:
    stated = {length.strip(b" \t") for length in b",".join(lengths).split(b",")}
    if len(stated) != 1:
        raise Refusal("Content-Length is repeated with differing values")
    digits = stated.pop()
    # bytes.isdigit knows ASCII digits alone; 19 of them are the most that 63 bits can need.
    if not digits.isdigit() or len(digits) > 19 or (length := int(digits)) >= 1 << 63:
        raise Refusal("Content-Length is not a plain decimal number below 2**63")
    return length


@lru_cache(maxsize=64)
def _connection_options(connection: bytes) -> frozenset[bytes]:
    return frozenset(option.strip(b" \t") for option in connection.lower().split(b","))


def _keeps_alive(options: frozenset[bytes], minor_version: int) -> bool:
    return b"close" not in options and (minor_version == 1 or b"keep-alive" in options)


def _without_named(fields: Fields, options: frozenset[bytes]) -> Fields:
    if options <= _ORDINARY_OPTIONS:
        return fields
    return tuple(field for field in fields if field[0] not in options)


def _upgrade(aside: _SetAside, options: frozenset[bytes]) -> bytes | None:
    if b"upgrade" not in options or b"upgrade" not in aside:
        return None
    return b", ".join(aside[b"upgrade"]).lower() or None


def _expects_continue(expectations: Iterable[bytes]) -> bool:
    if any(expectation.lower() != b"100-continue" for expectation in expectations):
        raise Refusal("the only expectation served is 100-continue", 417)
    return True


def _fault_of_request_line(head: bytes) -> str:
    """Find words for what the pattern rejected."""
    parts = head.removeprefix(b"\r\n").partition(b"\r\n")[0].split(b" ")
    if len(parts) != 3 or not all(parts):
        return "the request line is not a method, a target and a version with one space between them"
    method, _, version = parts
    if _TOKEN.fullmatch(method) is None:
        return "the method is not a token"
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return "the version is neither HTTP/1.1 nor HTTP/1.0"
    return "the target is neither a path nor an http(s) URI, or has a character that must be percent-encoded"


def _fault_of_fields(head: bytes, position: int) -> str:
    """Find words for what the pattern rejected."""
    if head.find(b"\r\n\r\n", position - 2) != len(head) - 4:
        return "the head does not end with its first empty line"
    for line in head[position:-4].split(b"\r\n"):
        if _FIELD.fullmatch(line + b"\r\n"):
            continue
        if line.startswith((b" ", b"\t")):
            return "a line begins with white space (obsolete line folding)"
        name, colon, _ = line.partition(b":")
        if not colon:
            return "a field line has no colon"
        if not name:
            return "a field has no name"
        if name.endswith((b" ", b"\t")):
            return "white space stands between a field's name and its colon"
        if _TOKEN.fullmatch(name) is None:
            return "a field's name has a character that is not allowed"
        return f"the value of {name[:64].decode('ascii')} holds a control character, or a bare CR or LF"
    return "a field line is not legal"
