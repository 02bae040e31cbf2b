import uuid

from hypothesis import given
from hypothesis import strategies as st

from outlast.core import ids

MOMENTS = st.integers(0, 2**48 - 1)
BITS = st.integers(0, 2**ids.RANDOM_BITS - 1)


@given(MOMENTS, BITS)
def test_is_a_uuid_of_version_7(unix_ms: int, bits: int) -> None:
    text = ids.uuid7(unix_ms, bits)
    read = uuid.UUID(text)
    assert str(read) == text
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == unix_ms


@given(MOMENTS, BITS, BITS)
def test_different_random_bits_make_different_ones(unix_ms: int, some: int, others: int) -> None:
    assert (ids.uuid7(unix_ms, some) == ids.uuid7(unix_ms, others)) is (some == others)


@given(MOMENTS, BITS, MOMENTS, BITS)
def test_they_sort_by_time(early: int, some: int, late: int, others: int) -> None:
    if early < late:
        assert ids.uuid7(early, some) < ids.uuid7(late, others)


def test_the_example_of_the_rfc() -> None:
    """RFC 9562, appendix A.6."""
    random_bits = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    assert ids.uuid7(0x017F22E279B0, random_bits) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 2), BITS, BITS)
def test_a_sequence_grows_within_a_millisecond_and_beyond(unix_ms: int, some: int, others: int) -> None:
    bits = iter([some, others])
    sequence = ids.Sequence(lambda count: next(bits) if count == ids.RANDOM_BITS else -1)
    made = [*(sequence.next(unix_ms) for _ in range(5)), sequence.next(unix_ms + 1)]
    assert made == sorted({*made})
    assert [uuid.UUID(text).int >> 80 for text in made] == [unix_ms] * 5 + [unix_ms + 1]
    assert {uuid.UUID(text).version for text in made} == {7}
