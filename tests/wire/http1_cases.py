"""What a strict HTTP/1.1 recipient waits for, accepts and refuses: raw bytes, and what becomes of them."""

from dataclasses import dataclass, field
from typing import Any

HOST = b"Host: example.com\r\n"


@dataclass(frozen=True)
class Accepted:
    name: str
    raw: bytes
    """A whole message."""
    expected: dict[str, Any] = field(default_factory=dict)
    """Attributes of the head."""
    content: bytes = b""
    """The body, decoded."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Refused:
    name: str
    raw: bytes
    status: int = 400

    def __str__(self) -> str:
        return self.name


def get(*lines: bytes, target: bytes = b"/", version: bytes = b"HTTP/1.1") -> bytes:
    """A GET with Host and the given field lines."""
    return b"GET %b %b\r\n%b%b\r\n" % (target, version, HOST, b"".join(line + b"\r\n" for line in lines))


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST / %b\r\n%b%b\r\n%b" % (version, HOST, b"".join(line + b"\r\n" for line in lines), body)


CHUNKED = b"Transfer-Encoding: chunked"

# Every way in which a request can have come in part: no answer yet, and no refusal either.
INCOMPLETE = {
    "nothing": b"",
    "an empty line's CR": b"\r",
    "an empty line": b"\r\n",
    "part of the method": b"G",
    "the method": b"GET",
    "the method and its space": b"GET ",
    "the target": b"GET /hello",
    "the target and its space": b"GET /hello ",
    "part of the version": b"GET /hello HTTP",
    "the version": b"GET /hello HTTP/1.1",
    "the request line and its CR": b"GET /hello HTTP/1.1\r",
    "the request line": b"GET /hello HTTP/1.1\r\n",
    "part of a name": b"GET /hello HTTP/1.1\r\nHos",
    "the colon": b"GET /hello HTTP/1.1\r\nHost:",
    "the white space before a value": b"GET /hello HTTP/1.1\r\nHost: ",
    "a value": b"GET /hello HTTP/1.1\r\nHost: localhost",
    "a value and its CR": b"GET /hello HTTP/1.1\r\nHost: localhost\r",
    "a field line": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n",
    "the last line's CR": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
}

ACCEPTED = [
    Accepted(
        "plain GET",
        get(target=b"/hello"),
        {
            "method": b"GET",
            "path": b"/hello",
            "query": b"",
            "minor_version": 1,
            "host": b"example.com",
            "fields": (),
            "length": 0,
            "keep_alive": True,
            "expects_continue": False,
            "upgrade": None,
        },
    ),
    Accepted("query", get(target=b"/a?b=/../c?d"), {"path": b"/a", "query": b"?b=/../c?d"}),
    Accepted("empty query", get(target=b"/a?"), {"path": b"/a", "query": b"?"}),
    Accepted("characters that browsers send raw", get(target=b'/a|b[1]{"}^?{"a":`\\`}|<>')),
    Accepted("lone percent sign", get(target=b"/100%?q=50%"), {"path": b"/100%"}),
    Accepted("encoded slash", get(target=b"/a%2fb"), {"path": b"/a%2fb"}),
    Accepted("encoded NUL in the query", get(target=b"/?a=%00"), {"query": b"?a=%00"}),
    Accepted("dots that are no dot segment", get(target=b"/.a/b./...//a.b/..c/%2e%2e%2e")),
    Accepted("dot segments in the query", get(target=b"/?a=/../%2e%2e/b")),
    Accepted(
        "absolute target",
        get(target=b"http://EXAMPLE.com/a/b?c"),
        {"path": b"/a/b", "query": b"?c", "host": b"EXAMPLE.com"},
    ),
    Accepted("absolute target without a path", get(target=b"HTTPS://example.com?c"), {"path": b"/", "query": b"?c"}),
    Accepted(
        "absolute target on 1.0 without Host",
        b"GET http://a.b:80/c HTTP/1.0\r\n\r\n",
        {"host": b"a.b:80", "path": b"/c", "minor_version": 0},
    ),
    Accepted("1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", {"host": b"", "keep_alive": False, "fields": ()}),
    Accepted("1.0 with keep-alive", get(b"Connection: Keep-Alive", version=b"HTTP/1.0"), {"keep_alive": True}),
    Accepted("close", get(b"connection: foo , CLOSE"), {"keep_alive": False}),
    Accepted("close outdoes keep-alive", get(b"Connection: keep-alive, close"), {"keep_alive": False}),
    Accepted("empty line before the request", b"\r\n" + get(), {"method": b"GET"}),
    Accepted("Host with a port", b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", {"host": b"a:8080"}),
    Accepted("Host of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", {"host": b"[::1]:8080"}),
    Accepted(
        "tab after the colon, an empty value",
        b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n",
        {"host": b"example.com", "fields": ((b"empty", b""),)},
    ),
    Accepted("value of white space only", get(b"X-Empty: \t "), {"fields": ((b"x-empty", b""),)}),
    Accepted(
        "no white space around, much around, and some within",
        get(b"A:b", b"B: \t c\t d \t"),
        {"fields": ((b"a", b"b"), (b"b", b"c\t d"))},
    ),
    Accepted("bytes above ASCII in a value", get(b"A: \xff\xc3\xa9"), {"fields": ((b"a", b"\xff\xc3\xa9"),)}),
    Accepted("every token character", get(b"!#$%&'*+-.^_`|~09azAZ: 1"), {}),
    Accepted(
        "order and repeats",
        get(b"B: 1", b"A: 2", b"b: 3"),
        {"fields": ((b"b", b"1"), (b"a", b"2"), (b"b", b"3"))},
    ),
    Accepted(
        "fields of one hop are not passed on",
        get(
            b"Connection: keep-alive, X-Secret",
            b"X-Secret: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"Trailer: X",
            b"HTTP2-Settings: AA",
            b"Upgrade: h2c",
            b"Accept: */*",
        ),
        {"fields": ((b"accept", b"*/*"),), "keep_alive": True, "upgrade": None},
    ),
    Accepted(
        "Host named by Connection stays",
        get(b"Connection: host, close"),
        {"host": b"example.com", "fields": ()},
    ),
    Accepted(
        "upgrade",
        get(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Version: 13"),
        {"upgrade": b"websocket", "fields": ((b"sec-websocket-version", b"13"),)},
    ),
    Accepted(
        "upgrade on 1.0 is ignored",
        get(b"Connection: Upgrade", b"Upgrade: websocket", version=b"HTTP/1.0"),
        {"upgrade": None},
    ),
    Accepted(
        "upgrade of a POST is ignored",
        post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 0"),
        {"upgrade": None, "fields": ()},
    ),
    Accepted(
        "upgrade of a request with a body is ignored",
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 2") + b"hi",
        {"upgrade": None, "length": 2},
        b"hi",
    ),
    Accepted(
        "upgrade of a request with a body in chunks is ignored",
        get(b"Connection: Upgrade", b"Upgrade: websocket", CHUNKED) + b"2\r\nhi\r\n0\r\n\r\n",
        {"upgrade": None, "length": -1},
        b"hi",
    ),
    Accepted("Content-Length", post(b"Content-Length: 5", body=b"hello"), {"length": 5}, b"hello"),
    Accepted("Content-Length of 0", post(b"Content-Length: 0"), {"length": 0}),
    Accepted("Content-Length on 1.0", post(b"Content-Length: 1", body=b"x", version=b"HTTP/1.0"), {}, b"x"),
    Accepted(
        "identical Content-Length twice",
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        {"length": 5, "fields": ()},
        b"hello",
    ),
    Accepted("identical Content-Length in a list", post(b"Content-Length: 5, 5", body=b"12345"), {}, b"12345"),
    Accepted("chunked", post(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), {"length": -1, "fields": ()}, b"hello"),
    Accepted("chunked in capitals", post(b"TRANSFER-ENCODING: ChunkeD", body=b"0\r\n\r\n"), {"length": -1}),
    Accepted(
        "expects 100",
        post(b"Expect: 100-Continue", b"Content-Length: 2", body=b"hi"),
        {"expects_continue": True, "fields": ()},
        b"hi",
    ),
    Accepted("expects 100 without a body", get(b"Expect: 100-continue"), {"expects_continue": False}),
    Accepted(
        "expects 100 on 1.0 is ignored",
        post(b"Expect: 100-continue", b"Content-Length: 2", body=b"hi", version=b"HTTP/1.0"),
        {"expects_continue": False},
        b"hi",
    ),
    Accepted("OPTIONS of a path", b"OPTIONS /a HTTP/1.1\r\n" + HOST + b"\r\n", {"method": b"OPTIONS"}),
    Accepted("a method of one's own", b"PURGE-2 /a HTTP/1.1\r\n" + HOST + b"\r\n", {"method": b"PURGE-2"}),
    Accepted("100 fields", get(*[b"A: b"] * 99)),
    Accepted("a head of 32 KiB", get(b"A: " + b"b" * (32 * 1024 - len(get(b"A: "))))),
]

REFUSED = [
    # Lines and characters.
    Refused("bare LF after the request line", b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    Refused("bare LF everywhere", b"GET / HTTP/1.1\nHost: example.com\n\n"),
    Refused("bare LF after a field", b"GET / HTTP/1.1\r\nHost: example.com\nA: b\r\n\r\n"),
    Refused("bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: example.com\r\n\nGET / HTTP/1.1\r\n\r\n"),
    Refused("bare CR in a value", get(b"A: b\rc")),
    Refused("bare CR at the end of a value", get(b"A: b\r")),
    Refused("bare CR for the empty line", b"GET / HTTP/1.1\r\nHost: example.com\r\n\rA: b\r\n\r\n"),
    Refused("NUL in a value", get(b"A: b\0c")),
    Refused("NUL in a name", get(b"A\0: b")),
    Refused("NUL in the target", get(target=b"/\0")),
    Refused("control character in a value", get(b"A: test\x07")),
    Refused("DEL in a value", get(b"A: \x7f")),
    Refused("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Refused("two empty lines before the request", b"\r\n\r\n" + get()),
    # Request line.
    Refused("no version", b"GET / \r\n\r\n"),
    Refused("HTTP/0.9", b"GET /\r\n\r\n"),
    Refused("HTTP/0.9 by name", get(version=b"HTTP/0.9")),
    Refused("HTTP/1.2", get(version=b"HTTP/1.2")),
    Refused("HTTP/1.10", get(version=b"HTTP/1.10")),
    Refused("HTTP/2.0", get(version=b"HTTP/2.0")),
    Refused("HTTP/9.9", get(version=b"HTTP/9.9")),
    Refused("version in lower case", get(version=b"http/1.1")),
    Refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Refused("text before the method", b"Extra line" + get()),
    Refused("two spaces after the method", b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("two spaces after the target", b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("space at the end", b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    Refused("space at the beginning", b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("tab after the method", b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("tab after the target", b"GET /\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("space in the target", get(target=b"/a b")),
    Refused("method that is no token", b"GE(T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
    Refused("CONNECT with a path", b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n"),
    # Target.
    Refused("asterisk", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"),
    Refused("authority as the target", get(target=b"example.com:80")),
    Refused("target without a slash", get(target=b"hello")),
    Refused("query alone", get(target=b"?a=b")),
    Refused("fragment", get(target=b"/a#b")),
    Refused("fragment in the query", get(target=b"/a?b#c")),
    Refused("bytes above ASCII in the path", get(target=b"/\xc3\xa9")),
    Refused("bytes above ASCII in the query", get(target=b"/?\xc3\xa9")),
    Refused("tab in the target", get(target=b"/a\tb")),
    Refused("DEL in the target", get(target=b"/a\x7f")),
    Refused("backslash in the path", get(target=b"/a\\..\\b")),
    Refused("encoded NUL in the path", get(target=b"/a%00")),
    Refused("..", get(target=b"/..")),
    Refused("../", get(target=b"/a/../b")),
    Refused(".", get(target=b"/a/.")),
    Refused("./", get(target=b"/a/./b")),
    Refused(".. before the query", get(target=b"/a/..?b")),
    Refused("%2e%2e", get(target=b"/a/%2e%2e/b")),
    Refused("%2E.", get(target=b"/a/%2E./b")),
    Refused(".%2e at the end", get(target=b"/a/.%2e")),
    Refused("%2e", get(target=b"/a/%2e")),
    Refused(".. before an encoded slash", get(target=b"/a/..%2fb")),
    Refused(".. after an encoded slash", get(target=b"/a%2F../b")),
    Refused(".. after an encoded backslash", get(target=b"/a%5c..")),
    Refused("absolute target with a dot segment", get(target=b"http://example.com/a/../b")),
    Refused("absolute target of another host", get(target=b"http://example.org/")),
    Refused("absolute target of another port", get(target=b"http://example.com:81/")),
    Refused("absolute target without a host", get(target=b"http:///a")),
    Refused("absolute target with user information", get(target=b"http://me@example.com/")),
    Refused("absolute target without a host, and no Host", b"GET http:///a HTTP/1.0\r\n\r\n"),
    Refused("absolute target with user information, and no Host", b"GET http://me@a.b/ HTTP/1.0\r\n\r\n"),
    Refused("absolute target of another scheme", get(target=b"ftp://example.com/")),
    Refused("absolute target with a backslash", get(target=b"http://example.com\\@evil/")),
    # Host.
    Refused("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    Refused("no Host but other fields", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"),
    Refused("no Host in spite of an absolute target", b"GET http://example.com/ HTTP/1.1\r\n\r\n"),
    Refused("two different Host", get(b"Host: example.org")),
    Refused("the same Host twice", get(b"Host: example.com")),
    Refused("two Host on 1.0", get(b"Host: example.org", version=b"HTTP/1.0")),
    Refused("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    Refused("Host of a port alone", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    Refused("Host with a path", b"GET / HTTP/1.1\r\nHost: example.com/a\r\n\r\n"),
    Refused("Host with user information", b"GET / HTTP/1.1\r\nHost: me@example.com\r\n\r\n"),
    Refused("Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Refused("Host list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    Refused("Host with a wrong port", b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n"),
    Refused("Host with open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    Refused("Host above ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n"),
    # Fields.
    Refused("obsolete folding", get(b"A: b", b" c")),
    Refused("obsolete folding by a tab", get(b"A: b", b"\tc: d")),
    Refused("folding before the first field", b"GET / HTTP/1.1\r\n " + HOST + b"\r\n"),
    Refused("space before the colon", get(b"A : b")),
    Refused("tab before the colon", get(b"A\t: b")),
    Refused("space before the colon of Content-Length", post(b"Content-Length : 5", body=b"hello")),
    Refused("no name", get(b": b")),
    Refused("no colon", get(b"A")),
    Refused("brackets in a name", get(b"X-Invalid[]: test")),
    Refused("space in a name", get(b"X Y: z")),
    Refused("bytes above ASCII in a name", get(b"X-\xc3\xa9: test")),
    Refused("expectation unknown", post(b"Expect: 200-ok", b"Content-Length: 0"), 417),
    Refused("expectation empty", get(b"Expect:"), 417),
    Refused("101 fields", get(*[b"A: b"] * 100), 431),
    Refused("a head of 32 KiB and one byte", get(b"A: " + b"b" * (32 * 1024 + 1 - len(get(b"A: ")))), 431),
    Refused("a target without an end", b"GET /" + b"a" * 32 * 1024, 414),
    Refused("a target without an end after an empty line", b"\r\nGET /" + b"a" * 32 * 1024, 414),
    # Framing.
    Refused("Content-Length with Transfer-Encoding", post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
    Refused("Transfer-Encoding with Content-Length", post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n")),
    Refused("Content-Length differs", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    Refused("Content-Length differs in a list", post(b"Content-Length: 5, 6", body=b"hello!")),
    Refused("Content-Length written in two ways", post(b"Content-Length: 5, 05", body=b"hello")),
    Refused("Content-Length with an empty element", post(b"Content-Length: 5,", body=b"hello")),
    Refused("Content-Length +5", post(b"Content-Length: +5", body=b"hello")),
    Refused("Content-Length -1234", post(b"Content-Length: -1234")),
    Refused("Content-Length negative beyond 64 bits", post(b"Content-Length: -123456789123456789123456789")),
    Refused("Content-Length beyond 64 bits", post(b"Content-Length: 123456789123456789123456789")),
    Refused("Content-Length of 2**63", post(b"Content-Length: 9223372036854775808")),
    Refused("Content-Length 0x5", post(b"Content-Length: 0x5", body=b"hello")),
    Refused("Content-Length 5_0", post(b"Content-Length: 5_0")),
    Refused("Content-Length 5 5", post(b"Content-Length: 5 5", body=b"hello")),
    Refused("Content-Length 5.0", post(b"Content-Length: 5.0", body=b"hello")),
    Refused("Content-Length abc", post(b"Content-Length: abc")),
    Refused("Content-Length empty", post(b"Content-Length:")),
    Refused("Content-Length in other digits", post("Content-Length: ٥".encode(), body=b"hello")),
    Refused("Transfer-Encoding on 1.0", post(CHUNKED, body=b"0\r\n\r\n", version=b"HTTP/1.0")),
    Refused("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Refused("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    Refused("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    Refused("chunked twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    Refused("chunked and identity", post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    Refused("identity", post(b"Transfer-Encoding: identity")),
    Refused("xchunked", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    Refused("chunked in quotes", post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    Refused("chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b", body=b"0\r\n\r\n")),
    Refused("chunked after a vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    Refused("Transfer-Encoding empty", post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
]

CHUNKED_BODIES = {
    "no chunk": (b"0\r\n\r\n", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "several chunks": (b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", b"abcdef"),
    "hexadecimal in both cases": (
        b"a\r\n0123456789\r\nB\r\n0123456789x\r\n0\r\n\r\n",
        b"01234567890123456789x",
    ),
    "leading zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "sixteen digits": (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "content that looks like the end": (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    "extensions": (b'5;a;b=c \t; d = "e;f\xe9"\r\nhello\r\n0;z\r\n\r\n', b"hello"),
    "white space before an extension": (b"5 \t;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    "the longest chunk-size line": (b"5;" + b"a" * 4092 + b"\r\nhello\r\n0\r\n\r\n", b"hello"),
    "trailers": (b"5\r\nhello\r\n0\r\nA: b\r\nContent-Length: 7\r\nempty:\r\n\r\n", b"hello"),
    "the longest trailers": (b"0\r\nA:" + b"b" * 8186 + b"\r\n\r\n", b""),
}

BAD_CHUNKED_BODIES = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
    "seventeen digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab after the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;\0\r\nhello\r\n0\r\n\r\n",
    "extension without a semicolon": b"5 a\r\nhello\r\n0\r\n\r\n",
    "too long an extension": b"5;" + b"a" * 4093 + b"\r\nhello\r\n0\r\n\r\n",
    "an extension without an end": b"5;" + b"a" * 5000,
    "chunk longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "chunk shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "bare LF after a chunk": b"5\r\nhello\n0\r\n\r\n",
    "bare CR after a chunk": b"5\r\nhello\r0\r\n\r\n",
    "bare LF for the empty line": b"0\r\n\nGET",
    "no empty line after the last chunk": b"0\r\n GET",
    "trailer without a colon": b"0\r\nfoo\r\n\r\n",
    "trailer without a name": b"0\r\n: b\r\n\r\n",
    "space before a trailer's colon": b"0\r\nA : b\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "bare LF in a trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "NUL in a trailer": b"0\r\nA: \0\r\n\r\n",
    "request for a trailer": b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "too long trailers": b"0\r\nA:" + b"b" * 8187 + b"\r\n\r\n",
    "trailers without an end": b"0\r\n" + b"A: b\r\n" * 2000,
}
