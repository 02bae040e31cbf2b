from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import http1_cases as cases

from outlast.wire import bodies, http1


def decode(body: bodies.Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Feed every piece; return the content and what lies beyond the end."""
    content = beyond = b""
    for piece in pieces:
        was_done = body.done
        found, rest = body.feed(piece)
        assert not (was_done and found)
        assert body.done or not rest
        content += found
        beyond += rest
    return content, beyond


def by_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize(("raw", "content"), cases.CHUNKED_BODIES.values(), ids=cases.CHUNKED_BODIES)
def test_chunked(raw: bytes, content: bytes) -> None:
    for pieces in ([raw], by_bytes(raw), [raw + b"GET /"], [raw, b"GET /"]):
        body = bodies.Chunked()
        assert decode(body, pieces) == (content, b"".join(pieces)[len(raw) :])
        assert body.done
        body.eof()


@pytest.mark.parametrize("raw", cases.BAD_CHUNKED_BODIES.values(), ids=cases.BAD_CHUNKED_BODIES)
def test_bad_chunked(raw: bytes) -> None:
    for pieces in ([raw], by_bytes(raw), [raw + b"\r\n\r\n" * 5000]):
        body = bodies.Chunked()
        with pytest.raises(bodies.BadBody):
            decode(body, pieces)
        assert not body.done


@pytest.mark.parametrize(
    "raw",
    [b" ", b"g", b"-", b"5\n", b"5 \r", b"5;\0", b"1\r\naX", b"1\r\na\rX", b"0\r\n\n", b"0\r\n ", b"0\r\na "],
)
def test_a_hopeless_beginning_is_refused_before_its_line_is_complete(raw: bytes) -> None:
    body = bodies.Chunked()
    with pytest.raises(bodies.BadBody):
        body.feed(raw)


@pytest.mark.parametrize(("raw", "content"), cases.CHUNKED_BODIES.values(), ids=cases.CHUNKED_BODIES)
def test_chunked_that_ends_too_early(raw: bytes, content: bytes) -> None:
    for length in range(0, len(raw), max(1, len(raw) // 50)):
        body = bodies.Chunked()
        found, beyond = body.feed(raw[:length])
        assert content.startswith(found)
        assert not beyond
        with pytest.raises(bodies.BadBody, match="before its last chunk"):
            body.eof()


def test_content_is_handed_over_as_it_arrives() -> None:
    body = bodies.Chunked()
    assert body.feed(b"8\r\nabc") == (b"abc", b"")
    assert body.feed(b"de") == (b"de", b"")
    assert body.feed(b"fgh\r\n1\r\ni\r\n0\r\n\r\nnext") == (b"fghi", b"next")
    assert body.feed(b"more") == (b"", b"more")


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.lists(st.integers(min_value=0, max_value=3000), max_size=12),
    st.binary(max_size=20),
)
def test_chunks_come_out_as_they_went_in(pieces: list[bytes], places: list[int], beyond: bytes) -> None:
    raw = b"".join(map(bodies.chunk, pieces)) + bodies.LAST_CHUNK + beyond
    assert [b"".join(bodies.chunk_pieces(piece)) for piece in pieces] == [*map(bodies.chunk, pieces)]
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    cut = [raw[a:b] for a, b in pairwise(edges)]
    assert decode(bodies.Chunked(), cut) == (b"".join(pieces), beyond)


@given(st.binary(max_size=100), st.sampled_from([b"", b"5\r\nhello\r\n", b"0\r\n", b"5;a"]))
def test_arbitrary_bytes_end_alike_in_one_piece_and_in_many(noise: bytes, start: bytes) -> None:
    raw = start + noise.replace(b"\0", b"\r\n").replace(b"\1", b"0\r\n")
    outcomes = []
    for pieces in ([raw], by_bytes(raw)):
        body = bodies.Chunked()
        try:
            outcomes.append((decode(body, pieces), body.done))
        except bodies.BadBody as error:
            assert str(error)
            outcomes.append("bad")
    assert outcomes[0] == outcomes[1]


def test_fixed_length() -> None:
    body = bodies.FixedLength(5)
    assert not body.done
    assert body.feed(b"hel") == (b"hel", b"")
    with pytest.raises(bodies.BadBody, match="2 bytes before"):
        body.eof()
    assert body.feed(b"loGET") == (b"lo", b"GET")
    assert body.done
    assert body.feed(b"more") == (b"", b"more")
    body.eof()


def test_fixed_length_of_nothing_is_done_at_once() -> None:
    body = bodies.FixedLength(0)
    assert body.done
    assert body.feed(b"GET") == (b"", b"GET")
    body.eof()


def test_until_close() -> None:
    body = bodies.UntilClose()
    assert body.feed(b"a\r\n0\r\n\r\n") == (b"a\r\n0\r\n\r\n", b"")
    assert not body.done
    body.eof()
    assert body.done
    assert body.feed(b"late") == (b"", b"late")


@pytest.mark.parametrize(
    ("length", "kind"),
    [(http1.CHUNKED, bodies.Chunked), (http1.UNTIL_CLOSE, bodies.UntilClose), (0, bodies.FixedLength)],
)
def test_the_decoder_for_a_head(length: int, kind: type[bodies.Body]) -> None:
    assert type(bodies.decoder(length)) is kind


def test_a_long_body_is_passed_on_piece_by_piece() -> None:
    """Nothing but the beginning of a line is kept, however much has gone through."""
    body = bodies.Chunked()
    piece = bytes(64 * 1024)
    body.feed(b"%x\r\n" % (len(piece) * 1000))
    for _ in range(1000):
        content, _ = body.feed(piece)
        assert content == piece
        assert body._pending == b""
    assert body.feed(b"\r\n0\r\n\r\n") == (b"", b"")
    assert body.done
