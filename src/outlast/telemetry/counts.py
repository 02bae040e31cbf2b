"""Counts events: the figures behind the metrics.

This happens for every request and every task, so it is no more than a look-up of the function and some additions to
plain numbers, from which the metrics are made when Prometheus asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

REQUEST_BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
TASK_BUCKETS_MS = (10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000)
BOOT_BUCKETS_MS = (2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
WAIT_BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


class Histogram:
    """Counts durations in milliseconds by range."""

    __slots__ = ("bounds_ms", "counts", "sum_ms")

    def __init__(self, bounds_ms: tuple[float, ...]) -> None:
        self.bounds_ms = bounds_ms
        self.counts = [0] * (len(bounds_ms) + 1)
        """One for the range up to each bound, and a last one for values beyond all bounds."""
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        self.counts[bisect_left(self.bounds_ms, ms)] += 1
        self.sum_ms += ms

    def add_all(self, durations_ms: Sequence[float]) -> None:
        counts, bounds_ms = self.counts, self.bounds_ms
        for ms in durations_ms:
            counts[bisect_left(bounds_ms, ms)] += 1
        self.sum_ms += sum(durations_ms)


class FunctionCounts:
    """The counts of one function since the node was started."""

    __slots__ = (
        *("boot_failures", "boots", "ends", "fulfilled", "limits"),
        *("lines_suppressed", "requests", "statuses", "task_ms", "tasks"),
    )

    def __init__(self) -> None:
        self.statuses = [0] * 10
        """By the first digit of the status; 0: the client left before there was an answer."""
        self.requests = Histogram(REQUEST_BUCKETS_MS)
        self.fulfilled = 0
        self.tasks: Counter[tuple[str, str]] = Counter()
        """Tasks that were not fulfilled, by outcome and reason."""
        self.task_ms = Histogram(TASK_BUCKETS_MS)
        self.boots = Histogram(BOOT_BUCKETS_MS)
        self.boot_failures = 0
        self.ends: Counter[str] = Counter()
        """Ends of workers, by reason."""
        self.limits: Counter[str] = Counter()
        """The ends that a limit caused, by limit."""
        self.lines_suppressed = 0
        """Lines that it printed beyond its quota."""


class Counts:
    """Implements `outlast.telemetry.logs.Observer`."""

    def __init__(self) -> None:
        self.functions: dict[str, FunctionCounts] = {}
        """By name; under an empty one: requests that no function got."""
        self.log_lines_lost = 0

    def of(self, function: str) -> FunctionCounts:
        """``function``: one that exists, or did when what is counted began."""
        found = self.functions.get(function)
        if found is None:
            found = self.functions[function] = FunctionCounts()
        return found

    def emitted(self, event: str, fields: Mapping[str, object]) -> None:
        count = _COUNTED.get(event)
        if count is not None:
            count(self.of(str(fields.get("function", ""))), fields)
        elif event == "log_lost":
            self.log_lines_lost += cast(int, fields["count"])

    def request_ended(self, function: str, status: int, ms: float) -> None:
        counts = self.functions.get(function) or self.of(function)
        counts.statuses[status // 100] += 1
        counts.requests.add(ms)

    def tasks_fulfilled(self, function: str, durations_ms: Sequence[float]) -> None:
        counts = self.functions.get(function) or self.of(function)
        counts.fulfilled += len(durations_ms)
        counts.task_ms.add_all(durations_ms)


def _task(counts: FunctionCounts, fields: Mapping[str, Any]) -> None:
    """Counts a task that was not fulfilled."""
    counts.tasks[str(fields["outcome"]), str(fields.get("reason", ""))] += 1
    counts.task_ms.add(fields["ms"])


def _boot(counts: FunctionCounts, fields: Mapping[str, Any]) -> None:
    counts.boots.add(fields["ms"])


def _boot_failure(counts: FunctionCounts, fields: Mapping[str, Any]) -> None:
    counts.boot_failures += 1


def _shutdown(counts: FunctionCounts, fields: Mapping[str, Any]) -> None:
    reason = str(fields["reason"])
    counts.ends[reason] += 1
    if "limit" in fields:
        counts.limits[reason] += 1


def _suppressed(counts: FunctionCounts, fields: Mapping[str, Any]) -> None:
    counts.lines_suppressed += fields["lines"]


_COUNTED: Mapping[str, Callable[[FunctionCounts, Mapping[str, Any]], None]] = {
    "task": _task,
    "boot": _boot,
    "boot_failure": _boot_failure,
    "shutdown": _shutdown,
    "log_suppressed": _suppressed,
}
