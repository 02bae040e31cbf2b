"""Identifiers that sort by the time they were made."""

RANDOM_BITS = 74


def uuid7(unix_ms: int, random_bits: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) from the time and ``RANDOM_BITS`` random bits."""
    high = unix_ms << 16 | 0x7000 | random_bits >> 62
    text = f"{high << 64 | 1 << 63 | random_bits & 0x3FFF_FFFF_FFFF_FFFF:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
