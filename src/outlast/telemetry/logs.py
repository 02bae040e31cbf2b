"""The node's log: events, written as JSON lines for programs or as readable lines for a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Final, Literal, Protocol

import msgspec

from outlast.telemetry.feed import Feed
from outlast.telemetry.json_lines import JsonLines
from outlast.telemetry.pressure import Pressure
from outlast.telemetry.pretty import Pretty

MAX_TEXT_BYTES: Final = 64 * 1024
"""The longest message or field. A function may print megabytes at once, but a log line should stay a line."""
_SURELY_SHORT: Final = MAX_TEXT_BYTES // 4  # characters: no character takes more than four bytes


class Format(StrEnum):
    """``--log-format``."""

    PRETTY = "pretty"
    JSON = "json"


Label = Literal["debug", "info", "warning", "error"]


class Level(IntEnum):
    """How much an event matters."""

    label: Label
    """As it is written in JSON."""

    DEBUG = 10, "debug"
    INFO = 20, "info"
    WARNING = 30, "warning"
    ERROR = 40, "error"

    def __new__(cls, value: int, label: Label) -> Level:
        level: Level = int.__new__(cls, value)
        level._value_ = value
        level.label = label
        return level

    @classmethod
    def named(cls, name: str) -> Level:
        """The level with this label. Raises KeyError."""
        return _LEVELS[name]


_LEVELS: Final[dict[str, Level]] = {level.label: level for level in Level}

REQUEST_LEVEL: Final = Level.INFO
"""The level of ``request`` events."""

KEPT_LEVEL: Final = Level.INFO
"""Events of this level or higher are kept for a while, and counted, whether or not they are written."""


class Observer(Protocol):
    """Hears of events, whether or not they are written. Must not raise, and must not take long."""

    def emitted(self, event: str, fields: Mapping[str, object]) -> None:
        """Called for every event of `KEPT_LEVEL` or higher, except the two most frequent ones, which follow."""

    def request_ended(self, function: str, status: int, ms: float) -> None:
        """``function`` is empty for what no function got. ``status`` 0: the client left before there was a response."""

    def tasks_fulfilled(self, function: str, durations_ms: Sequence[float]) -> None: ...


class _Nobody:
    def emitted(self, event: str, fields: Mapping[str, object]) -> None:
        pass

    def request_ended(self, function: str, status: int, ms: float) -> None:
        pass

    def tasks_fulfilled(self, function: str, durations_ms: Sequence[float]) -> None:
        pass


class Log:
    """Writes each event with one call of ``write``, which gets text that ends in a newline.

    ``colour`` only applies to ``Format.PRETTY``. ``clock`` gives seconds since the epoch. Events below ``level`` are
    not written; those also below `KEPT_LEVEL` cost one comparison. ``pressure`` is high while written lines wait for
    their reader.

    ``emit`` never raises, neither because of what an event contains nor because the stream cannot be written: a full
    disk or a closed pipe must not end requests.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        format: Format,  # noqa: A002, the name of the command-line option
        colour: bool = False,
        clock: Callable[[], float] = time.time,
        level: Level = Level.INFO,
        pressure: Pressure | None = None,
    ) -> None:
        self.level = level
        """May be changed at any time."""
        self.pressure = pressure or Pressure()
        self.feed = Feed()
        """Keeps recent events for queries, and passes new ones to listeners."""
        self.observer: Observer = _Nobody()
        self._write = write
        self._clock = clock
        self._renderer = JsonLines() if format is Format.JSON else Pretty(colour=colour)

    def takes(self, level: Level) -> bool:
        """Whether an event of this level has any effect."""
        return level >= KEPT_LEVEL or level >= self.level

    def emit(
        self,
        event: str,
        *,
        level: Level = Level.INFO,
        msg: str | None = None,
        function: str | None = None,
        execution_id: str | None = None,
        request_id: str | None = None,
        task_id: str | None = None,
        **fields: object,
    ) -> None:
        """Writes one event. Arguments that are ``None`` are left out.

        The names of ``fields`` are chosen by Outlast's code, never by a function; their values may be anything.
        """
        if not self.takes(level):
            return
        record: dict[str, object] = {"level": level.label, "event": event}
        if function is not None:
            record["function"] = function
        if execution_id is not None:
            record["execution_id"] = execution_id
        if request_id is not None:
            record["request_id"] = request_id
        if task_id is not None:
            record["task_id"] = task_id
        chars = 0
        if msg is not None:
            record["msg"] = msg = _cut(msg)
            chars = len(msg)
        if fields:
            chars += _add(record, fields)
        now = self._clock()
        self.observer.emitted(event, record)
        self.feed.keep(now, level, event, record, chars)
        if level >= self.level:
            self._deliver(self._renderer.render(now, record))

    def hears(self, level: Level) -> bool:
        """Whether an event of this level has any effect when given to `emit_struct`."""
        return level >= self.level or bool(self.feed.listeners)

    def emit_struct(self, event: str, struct: msgspec.Struct, level: Level = Level.INFO) -> None:
        """Writes one event with the fields of ``struct``, each of which is short.

        For what happens with every request, as it costs a third of `emit`. The struct should omit defaults. Whoever
        emits such an event tells the observer too, and need not make the struct if nobody `hears` it.
        """
        is_written = level >= self.level
        if is_written or self.feed.listeners:
            now = self._clock()
            if self.feed.listeners:
                self.feed.pass_on(now, level, event, struct)
            if is_written:
                self._deliver(self._renderer.render_struct(now, level.label, event, struct))

    def _deliver(self, text: str) -> None:
        try:
            self._write(text)
        except (OSError, ValueError):  # ValueError: the stream was closed, or its encoding lacks a character
            return


def _add(record: dict[str, object], fields: Mapping[str, object]) -> int:
    """Adds the fields that are not None. Returns the number of characters in those that are texts."""
    chars = 0
    for name, value in fields.items():
        if type(value) is str:
            record[name] = text = _cut(value)
            chars += len(text)
        elif value is not None:
            record[name] = value
    return chars


def _cut(text: str) -> str:
    if len(text) <= _SURELY_SHORT:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_TEXT_BYTES:
        return text
    # "ignore" drops the character that the cut went through.
    kept = data[:MAX_TEXT_BYTES].decode("utf-8", "ignore")
    return f"{kept}… ({len(data) - len(kept.encode()):,} bytes left out)"
