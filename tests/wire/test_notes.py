"""What a TypeScript worker has said is known once, wherever it died. `notes_test.ts` has the worker's side."""

from hypothesis import given
from hypothesis import strategies as st

from outlast.wire.notes import left_behind

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=12)


def noted(lines: list[bytes], first: int) -> list[bytes]:
    """What a worker writes of these lines."""
    return [b"%d %b %d\n" % (number, line, number) for number, line in enumerate(lines, first)]


@given(LINES, LINES, st.data())
def test_what_was_not_received_is_left_behind(sent: list[bytes], rest: list[bytes], data: st.DataObject) -> None:
    """The worker was writing over notes of what it had sent when it died, in the middle of a line perhaps."""
    old, new = b"".join(noted(sent, 0)), noted(rest, len(sent))
    whole = data.draw(st.integers(0, len(new)))
    written = b"".join(new[:whole])
    if whole < len(new):
        written += new[whole][: data.draw(st.integers(0, len(new[whole]) - 2))]
    said = [*sent, *rest[:whole]]
    received = data.draw(st.integers(len(sent), len(said)))
    left = left_behind(written + old[len(written) :], received)
    assert left == b"".join(line + b"\n" for line in said[received:])


def test_a_worker_can_write_what_it_likes() -> None:
    for nothing in (b"", b"\n", b"10", b"10 x", b"10 x 1", b"10 x 11\n", b"x y x\n", b"-1 x -1\n", b"9 x 9\n"):
        assert left_behind(nothing, 10) == b""
    assert left_behind(b"\xff\n12 twelve 12\n9 nine 9\n10 \xfe 10\n", 10) == b"twelve\n\xfe\n"
