"""Identifiers that sort by the time they were made."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

RANDOM_BITS = 74


def uuid7(unix_ms: int, random_bits: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) from the time and ``RANDOM_BITS`` random bits."""
    high = unix_ms << 16 | 0x7000 | random_bits >> 62
    text = f"{high << 64 | 1 << 63 | random_bits & 0x3FFF_FFFF_FFFF_FFFF:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_of(moment: datetime) -> str:
    """The least id that anything made at this moment, to the millisecond, can have."""
    return uuid7(max(0, int(moment.timestamp() * 1000)), 0)


def moment_of(id_: str) -> datetime:
    """When an id was made, to the millisecond. Raises ValueError for anything but a UUID."""
    return datetime.fromtimestamp(int(id_.replace("-", "")[:12], 16) / 1000, UTC)


def is_uuid(text: str) -> bool:
    """Whether it is a UUID, spelt as here: in lower case, with hyphens."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class Sequence:
    """UUIDs of version 7, each greater than the last as long as time does not go back.

    Within a millisecond the last 48 bits count on from where they began (RFC 9562, section 6.2, method 2), which costs
    a fraction of making each anew.
    """

    __slots__ = ("_prefix", "_random_bits", "_tail", "_unix_ms")

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        """``random_bits(count)`` returns a number of that many random bits."""
        self._random_bits = random_bits
        self._unix_ms = -1
        self._prefix = ""
        self._tail = 0

    def next(self, unix_ms: int) -> str:
        if unix_ms != self._unix_ms:
            # One bit less than there is room for, so that counting on never overflows.
            text = uuid7(unix_ms, self._random_bits(RANDOM_BITS) & ~(1 << 47))
            self._unix_ms, self._prefix, self._tail = unix_ms, text[:24], int(text[24:], 16)
        tail = self._tail = self._tail + 1
        return self._prefix + tail.to_bytes(6, "big").hex()
