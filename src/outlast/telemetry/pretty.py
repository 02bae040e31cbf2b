"""Events as lines for people at a terminal: aligned columns, one sentence for each event, long text folded below.

Text from functions and clients may contain anything, even what moves a terminal's cursor or forges a line. All of it
passes through ``harmless`` before it is laid out; the only escape sequences on screen are those written here.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from outlast.core.stacks import TRACEBACKS, gist

_NODE: Final = "outlast"
"""Shown in the function column for events that concern no function."""
_MIN_FUNCTION_WIDTH: Final = 10
_MAX_FUNCTION_WIDTH: Final = 24
_ID_WIDTH: Final = 4
_EVENT_WIDTH: Final = len("beforeunload")
_FOLD: Final = "\n" + " " * 16

_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_RESET: Final = "\x1b[0m"
_LEVEL_COLOURS: Final = {
    "debug": _DIM,
    "info": "\x1b[36m",
    "warning": "\x1b[33m",
    "error": "\x1b[1;31m",
}

# C0 but tab and newline, DEL, C1, line separators, the marks that turn the direction of writing, surrogates.
_HARMFUL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Fields = dict[str, object]


def harmless(text: str) -> str:
    """``text`` with everything that could control a terminal as visible escapes. Tabs and newlines stay."""
    return _HARMFUL.sub(_escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Pretty:
    """Renders events; the function column grows with the longest name seen."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._function_width = _MIN_FUNCTION_WIDTH
        self._second = -1
        self._stamp = ""

    def render(self, now: float, record: Mapping[str, object]) -> str:
        """``record`` as one line, or several, of which all but the first are indented. Times are local."""
        fields = dict(record)
        level, event = str(fields.pop("level")), str(fields.pop("event"))
        function = _one_line(fields.pop("function", _NODE))
        # The end of an id, because the beginning is the time: workers of the same hour would look alike.
        execution = _one_line(fields.pop("execution_id", ""))[-_ID_WIDTH:]
        # These tie events together, which is for programs: the JSON format has them.
        fields.pop("request_id", None)
        fields.pop("task_id", None)
        label = level if event == "log" and level != "info" else _one_line(event)
        text = _body(event, fields)

        width = self._function_width = max(self._function_width, min(len(function), _MAX_FUNCTION_WIDTH))
        parts = (
            self._painted(_DIM, self._time(now)),
            self._painted(_BOLD, function.ljust(width)),
            self._painted(_DIM, execution.ljust(_ID_WIDTH)),
            self._painted(_LEVEL_COLOURS.get(level, ""), label.ljust(_EVENT_WIDTH)),
            harmless(text).replace("\n", _FOLD),
        )
        return "  ".join(parts).rstrip(" ") + "\n"

    def render_struct(self, now: float, level: str, event: str, struct: msgspec.Struct) -> str:
        """The same for an event with the fields of a struct."""
        return self.render(now, {"level": level, "event": event, **msgspec.to_builtins(struct)})

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text

    def _time(self, now: float) -> str:
        second, millisecond = divmod(int(now * 1000), 1000)
        if second != self._second:
            self._stamp = time.strftime("%H:%M:%S", time.localtime(second))
            self._second = second
        return f"{self._stamp}.{millisecond:03d}"


def _one_line(value: object) -> str:
    return harmless(str(value)).replace("\n", "\\n")


def sentence(event: str, fields: Fields) -> str:
    """What happened, without the message. Removes what it says from ``fields``. Empty for what functions print."""
    write = _SENTENCES.get(event)
    return write(fields) if write is not None else ""


def _body(event: str, fields: Fields) -> str:
    """The sentence for the event, its message, the fields that neither used, and the stack."""
    said = sentence(event, fields)
    message = str(fields.pop("msg", "")).rstrip()
    stack = str(fields.pop("stack", "")).rstrip()
    if stack.startswith(message):
        message = stack  # a stack trace usually begins with the error itself
    elif stack:
        message = f"{message}\n{stack}"
    first, newline, others = message.partition("\n")
    if newline and first.startswith(TRACEBACKS):
        # A Python traceback begins the same for all errors; its end says what the error is.
        first, others = gist(message), message
    head = ": ".join(part for part in (said, first) if part)
    pairs = [f"{name}={_quoted_if_needed(value)}" for name, value in fields.items()]
    return "  ".join([head, *pairs] if head else pairs) + newline + others


def _quoted_if_needed(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else _quoted(text)


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _duration(ms: object) -> str:
    if not isinstance(ms, int | float):
        return f"{ms} ms"
    if ms >= 10_000:
        return f"{ms / 1000:,.1f} s"
    return f"{ms:,.0f} ms" if ms >= 10 or ms == int(ms) else f"{ms:.1f} ms"


def _timed(fields: Fields, preposition: str, name: str = "ms") -> str:
    return f" {preposition} {_duration(fields.pop(name))}" if name in fields else ""


def _because(fields: Fields) -> str:
    return f" ({_words(fields.pop('reason'))})" if "reason" in fields else ""


def _words(value: object) -> str:
    return str(value).replace("_", " ")


def _ready(fields: Fields) -> str:
    admin = f", admin API on {fields.pop('admin_url')}" if "admin_url" in fields else ""
    layers = fields.pop("sandbox", None)
    walls = f", functions held by {', '.join(map(str, layers))}" if isinstance(layers, list) and layers else ""
    return f"listening on {fields.pop('url', 'an unknown address')}{admin}{walls}"


def _prepare(fields: Fields) -> str:
    return str(fields.pop("msg", "")) + _timed(fields, "in")


def _boot(fields: Fields) -> str:
    return "started" + _timed(fields, "in")


def _boot_failure(fields: Fields) -> str:
    return "failed to start" + _timed(fields, "after") + _because(fields)


def _retire(fields: Fields) -> str:
    return "gets no new requests" + _because(fields)


def _beforeunload(fields: Fields) -> str:
    return "told that its end is near" + _because(fields)


def _shutdown(fields: Fields) -> str:
    used = ""
    # These are about the limit that ended it; the message has both, with units.
    fields.pop("used", None)
    fields.pop("limit", None)
    if "cpu_ms" in fields:
        used += f", {_duration(fields.pop('cpu_ms'))} of CPU"
    if "memory_mb" in fields:
        used += f", {_number(fields.pop('memory_mb'))} MiB"
    return "ended" + _timed(fields, "after", "wall_ms") + _because(fields) + used


def _number(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _uncaught(fields: Fields) -> str:
    return "no one caught this" + _because(fields)


def _task(fields: Fields) -> str:
    name = _quoted(fields.pop("name")) if "name" in fields else "a task without a name"
    outcome = str(fields.pop("outcome", ""))
    if not outcome:
        return name + _timed(fields, "after") + _because(fields)
    spent = _timed(fields, "in" if outcome == "fulfilled" else "after")
    return f"{name} {_words(outcome)}{spent}{_because(fields)}"


def _log_suppressed(fields: Fields) -> str:
    for name in ("lines", "since"):
        # The message has the count; the time is that of an earlier line.
        fields.pop(name, None)
    return ""


def _first_byte(fields: Fields) -> str:
    return f", first byte after {_duration(fields.pop('first_byte_ms'))}" if "first_byte_ms" in fields else ""


def _request(fields: Fields) -> str:
    line = " ".join(_one_line(fields.pop(name)) for name in ("method", "path", "status") if name in fields)
    return line + _timed(fields, "in") + _first_byte(fields) + _because(fields)


_SENTENCES: Final[Mapping[str, Callable[[Fields], str]]] = {
    "ready": _ready,
    "prepare": _prepare,
    "boot": _boot,
    "boot_failure": _boot_failure,
    "retire": _retire,
    "beforeunload": _beforeunload,
    "shutdown": _shutdown,
    "uncaught": _uncaught,
    "task": _task,
    "request": _request,
    "log_suppressed": _log_suppressed,
}
