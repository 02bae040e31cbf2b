import dataclasses
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire import http1_cases as cases

from outlast.core.errors import OutlastError
from outlast.wire import bodies, http1

TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse(raw: bytes) -> tuple[http1.RequestHead, bytes]:
    """Read the request at the beginning of ``raw``; return its head and what follows it."""
    end = http1.head_end(raw)
    assert end >= 0
    return http1.parse_request(raw[:end]), raw[end:]


class Reader:
    """Reads pipelined requests as a connection does, from whatever pieces come."""

    def __init__(self) -> None:
        self.requests: list[tuple[http1.RequestHead, bytes]] = []
        self.buffer = bytearray()
        self.searched = 0
        self.head: http1.RequestHead | None = None
        self.body: bodies.Body = bodies.FixedLength(0)
        self.content = b""

    def feed(self, piece: bytes) -> None:
        self.buffer += piece
        while self.buffer:
            if self.head is None:
                end = http1.head_end(self.buffer, self.searched)
                if end < 0:
                    self.searched = len(self.buffer)
                    return
                self.head = http1.parse_request(bytes(self.buffer[:end]))
                del self.buffer[:end]
                self.searched = 0
                self.body = bodies.decoder(self.head.length)
                self.content = b""
            if not self.body.done:
                content, rest = self.body.feed(bytes(self.buffer))
                self.content += content
                self.buffer[:] = rest
            if not self.body.done:
                return
            self.requests.append((self.head, self.content))
            self.head = None


def read(*pieces: bytes) -> list[tuple[http1.RequestHead, bytes]]:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    assert reader.head is None
    assert not reader.buffer
    return reader.requests


@pytest.mark.parametrize("raw", cases.INCOMPLETE.values(), ids=cases.INCOMPLETE)
def test_waits_for_the_rest(raw: bytes) -> None:
    assert http1.head_end(raw) == -1
    assert http1.head_end(bytearray(raw), max(len(raw) - 1, 0)) == -1


@pytest.mark.parametrize("case", cases.ACCEPTED, ids=str)
def test_accepts(case: cases.Accepted) -> None:
    [(head, content)] = read(case.raw)
    assert {name: getattr(head, name) for name in case.expected} == case.expected
    assert content == case.content


@pytest.mark.parametrize("case", cases.ACCEPTED, ids=str)
def test_the_next_request_begins_where_an_accepted_one_ends(case: cases.Accepted) -> None:
    first, second = read(case.raw + cases.get(target=b"/next"))
    assert said(first) == said(read(case.raw)[0])
    assert second[0].path == b"/next"


@pytest.mark.parametrize("case", cases.ACCEPTED, ids=str)
def test_accepts_byte_by_byte(case: cases.Accepted) -> None:
    pieces = [case.raw[i : i + 1] for i in range(len(case.raw))]
    assert [*map(said, read(*pieces))] == [*map(said, read(case.raw))]


@pytest.mark.parametrize("case", cases.REFUSED, ids=str)
def test_refuses(case: cases.Refused) -> None:
    with pytest.raises(http1.Refusal) as caught:
        parse(case.raw)
    assert caught.value.status == case.status
    assert str(caught.value)


@pytest.mark.parametrize("case", cases.REFUSED, ids=str)
def test_refuses_byte_by_byte(case: cases.Refused) -> None:
    reader = Reader()
    with pytest.raises(http1.Refusal) as caught:
        for i in range(len(case.raw)):
            reader.feed(case.raw[i : i + 1])
    assert caught.value.status == case.status
    assert reader.requests == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "Host field is missing"),
        (cases.get(b"A : b"), "white space stands between"),
        (cases.get(b"A: b", b" c"), "folding"),
        (cases.get(b"A"), "no colon"),
        (cases.get(b": b"), "no name"),
        (cases.get(b"X-Bell: \x07"), "value of X-Bell"),
        (cases.get(version=b"HTTP/2.0"), "the version is neither"),
        (cases.get(target=b"/a b"), "one space"),
        (cases.get(target=b"/#"), "the target is neither"),
        (cases.get(b"A: b")[:-2] + b"B: c\r\n\r\nmore", "first empty line"),
    ],
)
def test_a_refusal_says_what_was_wrong(raw: bytes, words: str) -> None:
    with pytest.raises(http1.Refusal, match=words):
        http1.parse_request(raw)


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\nHo", b"GET / HTTP/1.1\r\nA: b\rc", b"GET /\0", b"\r\r"])
@pytest.mark.parametrize("searched", [0, 1])
def test_refuses_a_hopeless_beginning_before_it_is_complete(raw: bytes, searched: int) -> None:
    with pytest.raises(http1.Refusal):
        http1.head_end(raw, searched)


def test_values_of_a_name() -> None:
    head, _ = parse(cases.get(b"A: 1", b"B: 2", b"a: 3"))
    assert http1.values(head.fields, b"a") == [b"1", b"3"]
    assert http1.values(head.fields, b"c") == []


RESPONSES = [
    (
        "fixed length",
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        b"GET",
        {
            "status": 200,
            "reason": b"OK",
            "fields": ((b"a", b"b"),),
            "length": 5,
            "declared_length": 5,
            "keep_alive": True,
            "upgrade": None,
        },
    ),
    ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET", {"length": http1.CHUNKED}),
    (
        "until close",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
        b"GET",
        {"length": http1.UNTIL_CLOSE, "declared_length": None, "keep_alive": False},
    ),
    (
        "a status of one's own",
        b"HTTP/1.1 546 \r\nContent-Length: 0\r\n\r\n",
        b"GET",
        {"status": 546, "reason": b""},
    ),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"GET", {"reason": b"", "length": 0}),
    (
        "close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"GET",
        {"keep_alive": False},
    ),
    (
        "1.0",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"GET",
        {"keep_alive": False},
    ),
    (
        "to HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HEAD",
        {"length": 0, "declared_length": 5, "keep_alive": True},
    ),
    (
        "to HEAD, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HEAD",
        {"length": 0, "declared_length": http1.CHUNKED},
    ),
    ("to HEAD, nothing declared", b"HTTP/1.1 200 OK\r\n\r\n", b"HEAD", {"length": 0, "keep_alive": True}),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"GET", {"length": 0, "keep_alive": True}),
    (
        "204 with 0",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"GET",
        {"length": 0, "keep_alive": True},
    ),
    (
        "204 that announces a body is the last",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        b"GET",
        {"length": 0, "keep_alive": False},
    ),
    (
        "304",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"GET",
        {"length": 0, "declared_length": 5, "keep_alive": True},
    ),
    ("100", b"HTTP/1.1 100 Continue\r\n\r\n", b"POST", {"status": 100, "length": 0, "keep_alive": True}),
    (
        "101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nA: b\r\n\r\n",
        b"GET",
        {"upgrade": b"websocket", "fields": ((b"a", b"b"),), "length": 0},
    ),
    (
        "one hop's fields",
        b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: 1\r\nTrailer: X\r\nSet-Cookie: a\r\n"
        b"set-cookie: b\r\nContent-Length: 0\r\n\r\n",
        b"GET",
        {"fields": ((b"set-cookie", b"a"), (b"set-cookie", b"b"))},
    ),
]


@pytest.mark.parametrize(("raw", "method", "expected"), [r[1:] for r in RESPONSES], ids=[r[0] for r in RESPONSES])
def test_reads_a_response(raw: bytes, method: bytes, expected: dict[str, object]) -> None:
    read = http1.read_response(raw + b"HTTP/1.1 200", method)
    assert read is not None
    head, end = read
    assert end == len(raw)
    assert {name: getattr(head, name) for name in expected} == expected


def response(*lines: bytes, status_line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(line + b"\r\n" for line in (status_line, *lines, b""))


MALFORMED = {
    "an empty line first": b"\r\n" + response(b"Content-Length: 0"),
    "HTTP/2": response(status_line=b"HTTP/2 200 OK"),
    "HTTP/0.9": b"hello\r\n\r\n",
    "no status": response(status_line=b"HTTP/1.1 OK"),
    "status of two digits": response(status_line=b"HTTP/1.1 99 OK"),
    "status of four digits": response(status_line=b"HTTP/1.1 2000 OK"),
    "two spaces": response(status_line=b"HTTP/1.1  200 OK"),
    "control character in the reason": response(status_line=b"HTTP/1.1 200 O\x07K"),
    "both framings": response(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "differing Content-Length": response(b"Content-Length: 5", b"Content-Length: 6"),
    "Content-Length twice": response(b"Content-Length: 5", b"Content-Length: 5"),
    "Content-Length list": response(b"Content-Length: 5, 6"),
    "Content-Length negative": response(b"Content-Length: -5"),
    "gzip, chunked": response(b"Transfer-Encoding: gzip, chunked"),
    "chunked on 1.0": response(b"Transfer-Encoding: chunked", status_line=b"HTTP/1.0 200 OK"),
    "obsolete folding": response(b"A: b", b" c"),
    "space before the colon": response(b"A : b"),
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare CR in a value": response(b"A: b\rc"),
    "NUL": response(b"A: \0"),
    "interim with a body": response(b"Content-Length: 5", status_line=b"HTTP/1.1 100 Continue"),
    "interim, chunked": response(b"Transfer-Encoding: chunked", status_line=b"HTTP/1.1 103 Early Hints"),
    "101 to nothing": response(status_line=b"HTTP/1.1 101 Switching Protocols"),
    "101 that Connection does not name": response(b"Upgrade: websocket", status_line=b"HTTP/1.1 101 S"),
    "101 fields": response(*[b"A: b"] * 101),
    "over 32 KiB": response(b"A: " + b"b" * 32 * 1024),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response(raw: bytes) -> None:
    with pytest.raises(http1.MalformedResponse):
        http1.read_response(raw, b"GET")


# What hypothesis makes: requests whose parts are known, and how they are written.

tokens = st.text(alphabet=TOKEN_CHARACTERS.decode(), min_size=1, max_size=12).map(str.encode)
names = tokens.map(lambda token: b"x-" + token.lower())
texts = st.text(alphabet=[chr(c) for c in range(256) if c == 9 or (c >= 32 and c != 127)], max_size=20).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
segments = st.text(alphabet="abz09-_~.", min_size=3, max_size=8).map(lambda s: b"/s" + s.encode())
targets = st.tuples(st.lists(segments, min_size=1, max_size=4), st.sampled_from([b"", b"?", b"?a=b&c=/d/../?"])).map(
    lambda parts: (b"".join(parts[0]), parts[1])
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes]]:
    """The bytes of a request, and what a reader must find in them."""
    method = draw(tokens.filter(lambda token: token != b"CONNECT"))
    path, query = draw(targets)
    fields = draw(st.lists(st.tuples(names, texts), max_size=8))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    content = b"".join(pieces)
    lines = [b"Host: example.com", *[b"%b: %b" % pair for pair in fields]]
    if draw(st.booleans()):
        lines.append(cases.CHUNKED)
        body = b"".join(map(bodies.chunk, pieces)) + bodies.LAST_CHUNK
    else:
        lines.append(b"Content-Length: %d" % len(content))
        body = content
    raw = b"%b %b%b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, path, query, b"\r\n".join(lines), body)
    return raw, (method, path, query, tuple(fields), content)


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(raw) + 1) for place in places}), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(requests(), min_size=1, max_size=4),
    st.lists(st.integers(min_value=0, max_value=4000), max_size=12),
)
def test_any_cutting_gives_every_request_its_own(
    written: list[tuple[bytes, tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes]]],
    places: list[int],
) -> None:
    raw = b"".join(one for one, _ in written)
    found = [(head.method, head.path, head.query, head.fields, content) for head, content in read(*cut(raw, places))]
    assert found == [parts for _, parts in written]


def said(message: tuple[http1.RequestHead, bytes]) -> tuple[object, ...]:
    """All that the head and the content say, for comparison."""
    head, content = message
    return *dataclasses.astuple(head), content


def test_the_same_short_head_is_read_once() -> None:
    short, long = cases.get(b"A: b"), cases.get(b"A: " + b"b" * http1.MAX_CACHED_BYTES)
    assert http1.parse_request(bytes(short)) is http1.parse_request(bytes(bytearray(short)))
    assert http1.parse_request(long) is not http1.parse_request(long)


def assert_strict(head: bytes, parsed: http1.RequestHead) -> None:
    """Say again in plain string operations what an accepted head must be like."""
    assert head.endswith(b"\r\n\r\n")
    text = head.removeprefix(b"\r\n")
    request_line, *lines = text[:-4].split(b"\r\n")
    assert not any(c < 32 and c not in b"\t" for line in (request_line, *lines) for c in line)
    method, target, version = request_line.split(b" ")
    assert method
    assert set(method) <= set(TOKEN_CHARACTERS)
    assert all(33 <= c <= 126 and c != ord("#") for c in target)
    assert version in (b"HTTP/1.0", b"HTTP/1.1")
    seen: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon
        assert name
        assert set(name) <= set(TOKEN_CHARACTERS)
        seen.setdefault(name.lower(), []).append(value.strip(b" \t"))
    assert len(seen.get(b"host", [])) == 1 or (version == b"HTTP/1.0" and b"host" not in seen)
    if b"transfer-encoding" in seen:
        assert [coding.lower() for coding in seen[b"transfer-encoding"]] == [b"chunked"]
        assert b"content-length" not in seen
        assert version == b"HTTP/1.1"
        assert parsed.length == http1.CHUNKED
    else:
        stated = {part.strip(b" \t") for value in seen.get(b"content-length", [b"0"]) for part in value.split(b",")}
        assert len(stated) == 1
        assert stated == {str(int(digits)).zfill(len(digits)).encode() for digits in stated}
        assert parsed.length == int(stated.pop())
    decoded = re.sub(rb"(?i)%2e", b".", parsed.path)
    assert parsed.path.startswith(b"/")
    assert not {b".", b".."} & set(re.split(rb"(?i)/|\\|%2f|%5c", decoded))
    assert target.endswith(parsed.path + parsed.query) or parsed.path == b"/"


fragments = st.sampled_from(
    b"\r\n,\r,\n, ,\t,:,\0,/,..,%2e,%2F,\\,#,?,\xff,5".split(b",")
    + b",|Host: a\r\n|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|HTTP/1.0|http://a|Connection:".split(b"|")
)


@settings(max_examples=300)
@given(
    st.sampled_from(cases.ACCEPTED + cases.REFUSED),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), fragments)),
)
def test_a_damaged_request_is_refused_or_strictly_read(
    case: cases.Accepted | cases.Refused, damages: list[tuple[int, int, bytes]]
) -> None:
    raw = bytearray(case.raw)
    for place, length, replacement in damages:
        raw[place : place + length] = replacement
    check_any(bytes(raw))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_strictly_read(raw: bytes) -> None:
    check_any(raw)
    check_any(raw + b"\r\n\r\n")


def check_any(raw: bytes) -> None:
    try:
        end = http1.head_end(raw)
        if end < 0:
            assert b"\r\n\r\n" not in raw.removeprefix(b"\r\n")
            return
        parsed = http1.parse_request(raw[:end])
    except http1.Refusal as refusal:
        assert refusal.status in (400, 414, 417, 431)
        assert str(refusal)
        return
    assert_strict(raw[:end], parsed)


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_where_a_head_ends_does_not_depend_on_the_cutting(raw: bytes, places: list[int]) -> None:
    raw = raw.replace(b"\0", b"\r\n").replace(b"\1", b"\r\n\r\n")

    def legal(head: bytes) -> bool:
        lines = head.split(b"\r\n")
        return not any(byte == 127 or (byte < 32 and byte != 9) for line in lines for byte in line)

    def end_of(pieces: list[bytes]) -> int | None:
        buffer, searched = bytearray(), 0
        for piece in pieces:
            buffer += piece
            try:
                end = http1.head_end(buffer, searched)
            except http1.Refusal:
                return None
            if end >= 0:
                # A complete head is the parser's to judge, which refuses whatever is refused on the way.
                return end if legal(bytes(buffer[:end])) else None
            searched = len(buffer)
        return -1

    assert end_of(cut(raw, places)) == end_of([raw])


@given(st.binary(max_size=200), st.sampled_from([b"GET", b"HEAD"]))
def test_arbitrary_responses_are_malformed_or_read(raw: bytes, method: bytes) -> None:
    for candidate in (raw, b"HTTP/1.1 200 OK\r\n" + raw, response(b"A: " + raw), response(raw + b": b")):
        try:
            read = http1.read_response(candidate, method)
        except OutlastError as error:
            assert type(error) is http1.MalformedResponse
        else:
            assert read is None or read[0].status >= 100
