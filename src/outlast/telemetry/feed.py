"""Recent log events for those who query the node, and new ones for those who listen.

The latest events are kept for each function separately, so that one that prints without end does not push out those of
others. Events of every request (`Log.emit_struct`) are only passed on to listeners, and not kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from outlast.telemetry.json_lines import JsonLines

if TYPE_CHECKING:
    from outlast.telemetry.logs import Level

KEPT_EVENTS = 2_000
"""For each function, and for the node itself."""
KEPT_CHARS = 4 * 2**20
"""For the same: a function may print long lines."""
PENDING_EVENTS = 10_000
PENDING_CHARS = 16 * 2**20
"""What a listener may leave pending; beyond either bound the oldest are dropped, and the listener is told how many."""
_ENTRY_CHARS = 300
"""What an event takes in memory besides its text."""

Fields = Mapping[str, object] | msgspec.Struct


class Event(NamedTuple):
    number: int
    """Counted from the start of the node."""
    at: float
    """Seconds since the epoch."""
    level: "Level"
    name: str
    chars: int
    """Roughly how much memory it takes to keep."""
    fields: Fields
    """A mapping has all fields, including level and event name; a struct all but these two."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for the events that match everything given."""

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
        """How many of the oldest were dropped for want of room."""
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

    def keep(self, at: float, level: "Level", name: str, fields: Mapping[str, object], chars: int) -> None:
        """Keeps an event and passes it to listeners. ``chars``: how many its texts have."""
        self._count = count = self._count + 1
        event = Event(count, at, level, name, chars + _ENTRY_CHARS, fields)
        # Only names of functions that are served come here, so there are not too many.
        function = fields.get("function")
        ring = self._rings.get(function)
        if ring is None:
            ring = self._rings[function] = _Ring(KEPT_EVENTS, KEPT_CHARS)
        ring.add(event)
        for listener in self.listeners:
            listener.hear(event)

    def pass_on(self, at: float, level: "Level", name: str, fields: msgspec.Struct) -> None:
        """Passes an event to listeners, without keeping it. Each of its fields must be short."""
        self._count += 1
        event = Event(self._count, at, level, name, _ENTRY_CHARS, fields)
        for listener in self.listeners:
            listener.hear(event)

    def recent(self, wanted: Wanted, limit: int) -> list[Event]:
        """The latest matching events that are kept, oldest first."""
        if wanted.function is not None:
            rings = [ring] if (ring := self._rings.get(wanted.function)) is not None else []
        else:
            rings = [*self._rings.values()]
        found = filter(wanted.predicate(), chain.from_iterable(ring.events for ring in rings))
        return sorted(found, key=attrgetter("number"))[-limit:] if limit else []

    def listen(self, wanted: Wanted) -> "Listener":
        """Listens to events from now on, until `Listener.close`."""
        listener = Listener(wanted, self.listeners.discard)
        self.listeners.add(listener)
        return listener

    def close(self) -> None:
        """Ends all listeners."""
        for listener in [*self.listeners]:
            listener.close()


class Listener:
    """Collects events as they happen, for a reader that may be slow."""

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
        """The events since the last call, and how many were missed. None: there will be no more.

        Waits for an event, at most ``timeout_s``.
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
    """Each event as in the JSON log, without a newline."""
    lines = JsonLines()
    for event in events:
        if isinstance(event.fields, msgspec.Struct):
            text = lines.render_struct(event.at, event.level.label, event.name, event.fields)
        else:
            text = lines.render(event.at, event.fields)
        yield text.rstrip("\n")
