"""What a worker keeps and what the node takes from it, with whatever part of it sent."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.wire import kept
from outlast.wire.kept import RING, SIZE, Kept, left_behind

LENGTHS = st.lists(st.tuples(st.integers(1, RING), st.integers(0, 2 * RING)), max_size=12)


def line(number: int, length: int) -> bytes:
    return bytes([number % 251]) * length


@given(LENGTHS)
def test_what_was_not_received_is_left_behind(lines: list[tuple[int, int]]) -> None:
    memory = bytearray(SIZE)
    mine = Kept(memory)
    said = received = b""
    for number, (length, sent) in enumerate(lines):
        while not mine.put(line(number, length)):
            piece = mine.unsent()
            received += bytes(piece)
            mine.sent += len(piece)
        said += line(number, length)
        assert received + left_behind(bytes(memory), len(received)) == said
        piece = mine.unsent()[:sent]
        received += bytes(piece)
        mine.sent += len(piece)
        assert received + left_behind(bytes(memory), len(received)) == said


def test_what_is_too_long_to_be_kept_is_passed_by() -> None:
    memory = bytearray(SIZE)
    mine = Kept(memory)
    assert not mine.put(bytes(RING + 1))
    # The process may die when a part of it is sent: nobody can know the rest.
    assert left_behind(bytes(memory), 7) == b""
    mine.pass_by(RING + 1)
    assert left_behind(bytes(memory), RING + 1) == bytes(mine.unsent()) == b""
    assert mine.put(b"after")
    assert left_behind(bytes(memory), RING + 1) == bytes(mine.unsent()) == b"after"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_a_worker_can_claim_what_it_likes(count: int, received: int) -> None:
    memory = struct.pack("=Q", count) + bytes(RING)
    assert len(left_behind(memory, received)) <= RING


def test_nothing_is_kept_in_a_memory_that_was_let_go() -> None:
    memory = bytearray(SIZE)
    mine = Kept(memory)
    mine.release()
    with pytest.raises(ValueError, match="released"):
        mine.put(b"of a copy of the process\n")
    assert memory == bytearray(kept.SIZE)
