"""What is counted of what the log says: the figures behind the metrics.

Counting happens with every request and every task, so it is no more than a look-up of the function and some additions
to plain numbers; what Prometheus gets is made of them when it asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import cast

import msgspec

from outlast.telemetry.feed import field

REQUEST_BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
TASK_BUCKETS_MS = (10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000)
BOOT_BUCKETS_MS = (2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
WAIT_BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


class Histogram:
    """How many values of milliseconds there were up to each bound."""

    __slots__ = ("bounds_ms", "counts", "sum_ms")

    def __init__(self, bounds_ms: tuple[float, ...]) -> None:
        self.bounds_ms = bounds_ms
        self.counts = [0] * (len(bounds_ms) + 1)
        """Each of its own range; the last one of what is beyond all bounds."""
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        self.counts[bisect_left(self.bounds_ms, ms)] += 1
        self.sum_ms += ms


class FunctionCounts:
    """Since the node was started."""

    __slots__ = ("boot_failures", "boots", "ends", "limits", "requests", "statuses", "task_ms", "tasks")

    def __init__(self) -> None:
        self.statuses = [0] * 10
        """By the first digit of the status; 0: the client left before there was an answer."""
        self.requests = Histogram(REQUEST_BUCKETS_MS)
        self.tasks: Counter[tuple[str, str]] = Counter()
        """Settled ones, by outcome and reason."""
        self.task_ms = Histogram(TASK_BUCKETS_MS)
        self.boots = Histogram(BOOT_BUCKETS_MS)
        self.boot_failures = 0
        self.ends: Counter[str] = Counter()
        """Of workers, by reason."""
        self.limits: Counter[str] = Counter()
        """Of those, the ones that a limit was the reason for."""


class Counts:
    """Implements `outlast.telemetry.logs.Observer`."""

    def __init__(self, served: Callable[[], Collection[str]]) -> None:
        """``served``: the functions that there are. A client may ask for any, and is counted under no name then."""
        self.functions: dict[str, FunctionCounts] = {}
        self._served = served
        self._unknown = FunctionCounts()

    def of(self, function: object) -> FunctionCounts:
        name = cast(str, function)
        found = self.functions.get(name)
        if found is not None:
            return found
        if name not in self._served():
            if self._unknown is not self.functions.get(""):
                self.functions[""] = self._unknown
            return self._unknown
        found = self.functions[name] = FunctionCounts()
        return found

    def emitted(self, event: str, fields: Mapping[str, object]) -> None:
        count = _COUNTED.get(event)
        if count is not None and fields.get("function") is not None:
            count(self.of(fields["function"]), fields)

    def emitted_struct(self, event: str, fields: msgspec.Struct) -> None:
        count = _COUNTED.get(event)
        if count is not None:
            count(self.of(fields.function), fields)  # type: ignore[attr-defined]


Fields = Mapping[str, object] | msgspec.Struct


def _request(counts: FunctionCounts, fields: Fields) -> None:
    counts.statuses[cast(int, fields.status) // 100 % 10] += 1  # type: ignore[union-attr]
    counts.requests.add(cast(float, fields.ms))  # type: ignore[union-attr]


def _task(counts: FunctionCounts, fields: Fields) -> None:
    reason = field(fields, "reason")
    counts.tasks[str(field(fields, "outcome")), str(reason) if reason is not None else ""] += 1
    counts.task_ms.add(cast(float, field(fields, "ms")))


def _boot(counts: FunctionCounts, fields: Fields) -> None:
    counts.boots.add(cast(float, field(fields, "ms")))


def _boot_failure(counts: FunctionCounts, fields: Fields) -> None:
    counts.boot_failures += 1


def _shutdown(counts: FunctionCounts, fields: Fields) -> None:
    reason = str(field(fields, "reason"))
    counts.ends[reason] += 1
    if field(fields, "limit") is not None:
        counts.limits[reason] += 1


_COUNTED: Mapping[str, Callable[[FunctionCounts, Fields], None]] = {
    "request": _request,
    "task": _task,
    "boot": _boot,
    "boot_failure": _boot_failure,
    "shutdown": _shutdown,
}
