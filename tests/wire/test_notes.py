"""What a TypeScript worker has said is known once, wherever it died. `notes_test.ts` has the worker's side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.wire.notes import left_behind


@given(st.binary(max_size=100), st.integers(0, 100), st.integers(0, 100))
def test_what_was_not_received_is_left_behind(said: bytes, before: int, received: int) -> None:
    """The worker sends in order, and empties its notes when all is sent: what they begin with was received."""
    before = min(before, len(said))
    received = min(max(before, received), len(said))
    notes = f"{before}\n".encode() + said[before:]
    assert said[:received] + left_behind(notes, received) == said


@pytest.mark.parametrize(
    "notes", [b"", b"\n", b"12", b"12\n", b"-1\nx", b"x\ny", b"\xb2\nx", b"1" * 20 + b"\nx", b"11\nsaid before"]
)
def test_a_worker_can_write_what_it_likes(notes: bytes) -> None:
    assert left_behind(notes, 10) == b""
