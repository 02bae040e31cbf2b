"""Reads ``--since``: a span of time, or a moment."""

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)")


def since(text: str | None) -> str | None:
    """The moment meant, in RFC 3339; given as that, or as a span before now. Raises click.BadParameter."""
    if text is None:
        return None
    if (found := _SPAN.fullmatch(text.strip())) is not None:
        try:
            when = datetime.now(UTC) - timedelta(seconds=float(found[1]) * _UNITS[found[2]])
        except OverflowError:
            raise click.BadParameter(f"{text!r} is too long ago", param_hint="--since") from None
        return when.isoformat()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        message = f"{text!r} is neither a span such as 10m, 2h or 1d nor a moment such as 2026-01-31T12:00:00Z"
        raise click.BadParameter(message, param_hint="--since") from None
