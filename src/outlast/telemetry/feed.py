"""What the log has said lately, and what it says now, for whoever asks the node rather than its log file.

Of each function the latest events are kept, so that one that prints without end pushes out none of the others'. What
happens with every request (`Log.emit_struct`) is passed on to those who listen, and not kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, cast

import msgspec

from outlast.telemetry.json_lines import JsonLines

KEPT_EVENTS = 2_000
"""Of each function, and of the node itself."""
KEPT_CHARS = 4 * 2**20
"""Of the same: a function may print long lines."""
PENDING_EVENTS = 10_000
PENDING_CHARS = 16 * 2**20
"""That a listener has not taken yet; beyond either its oldest are dropped, and it is told how many."""
_ENTRY_CHARS = 300
"""What an event takes besides its text."""

Fields = Mapping[str, object] | msgspec.Struct


class Event(NamedTuple):
    number: int
    """Counted from the start of the node."""
    at: float
    """Seconds since the epoch."""
    level: int
    label: str
    """Of the level."""
    name: str
    chars: int
    """What it takes to keep it, about."""
    fields: Fields
    """All of them for one that was emitted, its level and name included; otherwise all but these two."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for: those that have all of what is given."""

    function: str | None = None
    request_id: str | None = None
    execution_id: str | None = None
    level: int = 0
    """This one or a higher one."""
    names: frozenset[str] = frozenset()
    """Empty: any."""

    def predicate(self) -> Callable[[Event], bool]:
        given = {
            name: value
            for name in ("function", "request_id", "execution_id")
            if (value := cast(str | None, getattr(self, name))) is not None
        }

        def accepts(event: Event) -> bool:
            if event.level < self.level or (self.names and event.name not in self.names):
                return False
            return all(field(event.fields, name) == value for name, value in given.items())

        return accepts


def field(fields: Fields, name: str) -> object:
    return fields.get(name) if isinstance(fields, Mapping) else getattr(fields, name, None)


class _Ring:
    """The latest events, within bounds."""

    def __init__(self, most_events: int, most_chars: int) -> None:
        self.events: deque[Event] = deque()
        self.dropped = 0
        """So many of the oldest, for want of room."""
        self._most_events = most_events
        self._most_chars = most_chars
        self._chars = 0

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._chars += event.chars
        while len(self.events) > self._most_events or self._chars > self._most_chars:
            self._chars -= self.events.popleft().chars
            self.dropped += 1


class Feed:
    def __init__(self) -> None:
        self._rings: dict[object, _Ring] = {}
        self.listeners: set[Listener] = set()
        self._count = 0

    def keep(self, at: float, level: int, label: str, name: str, fields: Mapping[str, object], chars: int) -> None:
        """``chars``: of its texts."""
        self._count = count = self._count + 1
        event = Event(count, at, level, label, name, chars + _ENTRY_CHARS, fields)
        # The name of one that is served: whoever writes to the log sees to it that there are not too many.
        function = fields.get("function")
        ring = self._rings.get(function)
        if ring is None:
            ring = self._rings[function] = _Ring(KEPT_EVENTS, KEPT_CHARS)
        ring.add(event)
        for listener in self.listeners:
            listener.hear(event)

    def pass_on(self, at: float, level: int, label: str, name: str, fields: msgspec.Struct) -> None:
        """Each of the fields is short."""
        self._count += 1
        event = Event(self._count, at, level, label, name, _ENTRY_CHARS, fields)
        for listener in self.listeners:
            listener.hear(event)

    def recent(self, wanted: Wanted, limit: int) -> list[Event]:
        """The latest of those that are kept, oldest first."""
        if wanted.function is not None:
            rings = [ring] if (ring := self._rings.get(wanted.function)) is not None else []
        else:
            rings = [*self._rings.values()]
        found = filter(wanted.predicate(), chain.from_iterable(ring.events for ring in rings))
        return sorted(found, key=attrgetter("number"))[-limit:] if limit else []

    def listen(self, wanted: Wanted) -> "Listener":
        """From now on; `Listener.close` ends it."""
        listener = Listener(wanted, self.listeners.discard)
        self.listeners.add(listener)
        return listener

    def close(self) -> None:
        """Whoever listens hears the end."""
        for listener in [*self.listeners]:
            listener.close()


class Listener:
    """Takes events as they happen; the one who reads may be slow."""

    def __init__(self, wanted: Wanted, on_close: "Callable[[Listener], None]") -> None:
        self._accepts = wanted.predicate()
        self._on_close = on_close
        self._pending = _Ring(PENDING_EVENTS, PENDING_CHARS)
        self._news = asyncio.Event()
        self._is_closed = False

    def hear(self, event: Event) -> None:
        if not self._accepts(event):
            return
        self._pending.add(event)
        self._news.set()

    async def take(self, timeout_s: float) -> tuple[list[Event], int] | None:
        """What has happened since the last time, and how much of it was missed. None: there will be no more.

        Waits for something to happen, not longer than ``timeout_s``.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return [], 0
        if self._is_closed and not self._pending.events:
            return None
        taken, self._pending = self._pending, _Ring(PENDING_EVENTS, PENDING_CHARS)
        if not self._is_closed:
            self._news.clear()
        return [*taken.events], taken.dropped

    def close(self) -> None:
        self._is_closed = True
        self._on_close(self)
        self._news.set()


def as_json(events: Iterable[Event]) -> Iterator[str]:
    """Each event as the log has it in JSON, without a newline."""
    lines = JsonLines()
    for event in events:
        if isinstance(event.fields, msgspec.Struct):
            text = lines.render_struct(event.at, event.label, event.name, event.fields)
        else:
            text = lines.render(event.at, event.fields)
        yield text.rstrip("\n")
