"""Prints lines, and formats times and durations.

Text from functions (names of tasks, errors) must not be able to control the terminal.
"""

import os
import sys
from datetime import datetime

import msgspec

from outlast.telemetry.pretty import harmless


def wants_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def one_line(text: str) -> str:
    return harmless(text).replace("\n", "\\n").replace("\t", " ")


def moment(text: str) -> datetime:
    """An RFC 3339 time as a local datetime."""
    return datetime.fromisoformat(text).astimezone()


def clock(text: str) -> str:
    when = moment(text)
    date = "" if when.date() == datetime.now().astimezone().date() else f"{when:%Y-%m-%d} "
    return f"{date}{when:%H:%M:%S}.{when.microsecond // 1000:03d}"


def duration(ms: float) -> str:
    if ms < 10:
        return f"{ms:.3g} ms"
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.3g} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def object_line(value: object) -> None:
    """Prints a JSON object on a line, in UTF-8, and flushes it: a program may wait for it."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A message for the user, on standard error, apart from the command's output."""
    print(f"outlast: {text}", file=sys.stderr)  # noqa: T201
