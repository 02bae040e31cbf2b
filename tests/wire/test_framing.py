import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.splitting import split

from outlast.wire import framing
from outlast.wire.framing import Lines, LineTooLong

LIMIT = 1024 * 1024


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b""))), st.lists(st.integers(0)))
def test_lines_arrive_whole_and_in_order_however_they_were_split(sent: list[bytes], cuts: list[int]) -> None:
    lines = Lines()
    received = []
    for piece in split(b"".join(line + b"\n" for line in sent), cuts):
        received += lines.feed(piece)
    assert received == sent


@given(st.lists(st.binary(), max_size=20))
def test_nothing_is_lost_and_nothing_invented(pieces: list[bytes]) -> None:
    lines = Lines()
    received = [line for piece in pieces for line in lines.feed(piece)]
    whole, _, rest = b"".join(pieces).rpartition(b"\n")
    assert received == (whole.split(b"\n") if b"\n" in b"".join(pieces) else [])
    assert lines.feed(b"\n") == [rest]


def test_the_limit() -> None:
    assert framing.MAX_LINE_BYTES == LIMIT
    assert Lines().feed(b"x" * LIMIT + b"\n") == [b"x" * LIMIT]
    with pytest.raises(LineTooLong):
        Lines().feed(b"x" * (LIMIT + 1) + b"\n")


def test_the_limit_holds_before_the_end_of_the_line() -> None:
    lines = Lines()
    lines.feed(b"x" * LIMIT)
    with pytest.raises(LineTooLong):
        lines.feed(b"x")


@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=8))
def test_the_limit_holds_however_the_line_was_split(sizes: list[int]) -> None:
    lines = Lines()
    try:
        for size in sizes:
            lines.feed(b"x" * size)
    except LineTooLong:
        assert sum(sizes) > LIMIT
    else:
        assert sum(sizes) <= LIMIT
