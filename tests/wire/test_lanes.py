import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.splitting import split

from outlast.wire.lanes import CLOSE, DATA, HEADER, MOVE, REST, BrokenFrame, Frame, Frames

NUMBERS = st.integers(0, 2**32 - 1)
FRAMES = st.tuples(st.just(DATA), NUMBERS, st.binary(min_size=1)) | (
    st.tuples(st.sampled_from([CLOSE, MOVE]), NUMBERS, st.just(b""))
)


def joined(frames: list[Frame]) -> list[Frame]:
    """With `REST` put behind what it is the rest of."""
    result: list[Frame] = []
    for kind, number, content in frames:
        if kind == REST and result and result[-1][:2] == (DATA, number):
            _, _, before = result.pop()
            kind, content = DATA, before + content
        result.append((kind, number, content))
    return result


@given(st.lists(FRAMES), st.lists(st.integers(0)))
def test_frames_arrive_in_order_however_they_were_split(sent: list[Frame], cuts: list[int]) -> None:
    frames = Frames()
    data = b"".join(HEADER.pack(kind, number, len(content)) + content for kind, number, content in sent)
    received = [frame for piece in split(data, cuts) for frame in frames.feed(piece)]
    assert joined(received) == sent


def test_content_does_not_wait_for_the_rest_of_it() -> None:
    frames = Frames()
    assert frames.feed(HEADER.pack(DATA, 7, 6) + b"abc") == [(DATA, 7, b"abc")]
    assert frames.feed(b"de") == [(REST, 7, b"de")]
    assert frames.feed(b"f" + HEADER.pack(CLOSE, 7, 0)[:4]) == [(REST, 7, b"f")]
    assert frames.feed(HEADER.pack(CLOSE, 7, 0)[4:]) == [(CLOSE, 7, b"")]


def test_another_kind_is_refused() -> None:
    with pytest.raises(BrokenFrame, match="kind 72"):
        Frames().feed(b"HTTP/1.1 200 OK\r\n\r\n")
