"""What commands print, a line at a time, and how moments and durations are told.

What functions say is in it (names of tasks, errors): nothing of it may steer a terminal.
"""

import sys
from datetime import datetime

import msgspec

from outlast.telemetry.pretty import harmless


def one_line(text: str) -> str:
    return harmless(text).replace("\n", "\\n").replace("\t", " ")


def moment(text: str) -> datetime:
    """In local time."""
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
    """One object a line, at once: whoever reads may wait for it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """To whoever sits there, beside what the command is asked to print."""
    print(f"outlast: {text}", file=sys.stderr)  # noqa: T201
