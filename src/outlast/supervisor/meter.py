"""Measures what workers use, and tells each what follows from it (`outlast.core.limits`).

A worker that computes is looked at every 20 ms. One that waits is left alone for longer, since its limits come no
nearer than its clocks can run; one that has nothing to do is looked at about once a second. Most of those looks end
with the CPU clock: as long as that hardly moves nothing changes but the time.
"""

import asyncio
import math
from typing import Protocol

from outlast.core import limits
from outlast.core.limits import Limits, Usage, Verdict
from outlast.supervisor.gauge import Gauge
from outlast.wire.idle import LATE_S

LOOK_MS = 20.0
LONGEST_AT_WORK_MS = 500.0
LONGEST_AT_REST_MS = 1_000.0
LONGEST_UNWEIGHED_MS = 5_000.0
"""Between two looks that tell the worker what it uses."""
EARLIEST = 0.75
"""Share of the time until the next look after which it may be taken."""
COMPUTING = 0.1
"""Share of a CPU from which on a worker is looked at as often as possible."""
BUSY = 0.75
"""Share of a CPU from which on an event loop has no time to spare."""
MEMORY_OF_LOAD_MS = 250.0
"""How far back the load is averaged over: a worker that has just begun is not busy for being new."""
QUICK_MS = 3.0
"""Requests are quick that a worker will be done with in this time."""
HELD_UP_MS = 60.0
"""So long without a sign of life is a busy event loop taken to be held up by one piece of code."""
SEEN_FOR_S = 0.001
COPYING_MS = 0.5
"""With less CPU time than this no process can fill memory worth measuring."""
TASK_MB = 1 / 2048
"""What the node holds of an open task. It counts as the worker's, which could fill the node's memory otherwise."""


class Metered(Protocol):
    """What a worker tells the meter."""

    @property
    def requests(self) -> int:
        """How many it has."""

    @property
    def requests_begun(self) -> int:
        """How many it was given in its life."""

    @property
    def signs_of_life(self) -> int:
        """Grows whenever its event loop is known to have done something."""

    @property
    def open_tasks(self) -> int:
        """How many it has."""

    @property
    def is_working(self) -> bool:
        """Whether it has a request or an open task."""


class Reader(Protocol):
    """Who hears what a worker uses."""

    def measured(self, usage: Usage, verdicts: list[Verdict]) -> None:
        """Called at each look. ``verdicts``: one for each limit that is near."""

    def held_up(self, held_up: bool) -> None:
        """One piece of code has its event loop, or has it no longer."""


class Meter:
    """Looks at all workers of a node."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._metered: set[Metering] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0

    def add(self, metering: "Metering") -> None:
        self._metered.add(metering)
        self.look_at(metering.due)

    def remove(self, metering: "Metering") -> None:
        self._metered.discard(metering)

    def look_at(self, due: float) -> None:
        """Looks again at this moment or before it."""
        if self._timer is None or self._timer_due > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._look)
            self._timer_due = due

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        # Those that are due a little later are looked at now: one after the other they cost a fraction of what each
        # does that the event loop wakes up for.
        for metering in [*self._metered]:
            if metering.may_be_early_at <= now:
                metering.look(now)
        if self._metered:
            self.look_at(min(metering.due for metering in self._metered))


class Metering:
    """The measuring of one worker, from the start of its code to its end."""

    def __init__(
        self, meter: Meter, worker: Metered, reader: Reader, pid: int, allowed: Limits, *, has_family: bool
    ) -> None:
        """``has_family``: it may start processes, which count as its own."""
        self._meter = meter
        self._worker = worker
        self._reader = reader
        self._gauge = Gauge(pid)
        self._has_family = has_family
        self._allowed = allowed
        self.usage = Usage()
        self._load = 0.0
        """Share of a CPU that it has used of late."""
        self.is_busy = False
        """Whether its event loop has had no time to spare."""
        self.quick = 0
        """How many requests it was given in `QUICK_MS`, when last looked at."""
        self.rests = False
        """Whether the next look is some while away: then `wake` is to be called when there is something to do."""
        self.due = meter.now()
        """When to look again, on the event loop's clock, in seconds."""
        self.may_be_early_at = self.due
        """From when on it may be done, should others be looked at then."""
        self._is_ready = False
        self._interval_ms = self._longest_ms = LOOK_MS
        self._unchanged_until = self.due
        """Until then what it uses follows from the last look, unless it has done something."""
        self._looked_at = self._began_at = self._asked_at = self.due
        self._cpu_ms = self._weighed_at_cpu_ms = self._gauge.cpu_ms()
        self._cpu_at_ready_ms = self._memory_at_ready_mb = self._weighed_mb = 0.0
        self._requests_begun = worker.requests_begun
        self._signs_of_life = worker.signs_of_life
        self._silent_ms = 0.0
        self._is_held_up = False
        self._seen_at = 0.0
        self._seen_running = False
        meter.add(self)

    def ready(self) -> None:
        """From now on its time counts."""
        self._is_ready = True
        self._cpu_ms = self._weighed_at_cpu_ms = self._gauge.cpu_ms()
        self._cpu_at_ready_ms, self._memory_at_ready_mb = (
            self._gauge.family() if self._has_family else (self._cpu_ms, self._gauge.memory_mb())
        )
        self._weighed_mb = self._memory_at_ready_mb
        self._looked_at = self._began_at = self._asked_at = self._meter.now()
        self._load, self.is_busy = 0.0, False
        self.usage = Usage(memory_mb=self._memory_at_ready_mb, memory_at_ready_mb=self._memory_at_ready_mb)
        self.wake()

    def restart_wall_clock(self) -> None:
        self._began_at = self._unchanged_until = self._meter.now()

    def wake(self) -> None:
        """There is something to do for it."""
        self.rests = False
        self._interval_ms = LOOK_MS
        self.due = min(self.due, self._meter.now() + LOOK_MS / 1000)
        self.may_be_early_at = min(self.may_be_early_at, self.due)
        self._meter.look_at(self.due)

    def is_running(self) -> bool:
        """Whether its event loop is at work at this moment, or was less than a millisecond ago."""
        now = self._meter.now()
        if now - self._seen_at > SEEN_FOR_S:
            self._seen_at, self._seen_running = now, self._gauge.is_running()
        return self._seen_running

    @property
    def cpu_ms(self) -> float:
        """CPU time of the process, up to this moment."""
        return self._gauge.cpu_ms()

    def close(self) -> None:
        self._meter.remove(self)
        self._gauge.close()

    def look(self, now: float) -> None:
        if (late_s := now - self.due) > LATE_S:
            # The node stood still. That is no time that the worker has used.
            self._began_at = min(self._began_at + late_s, now)
            self._asked_at = min(self._asked_at + late_s, now)
        cpu_ms = self._gauge.cpu_ms()
        if cpu_ms - self._cpu_ms < COPYING_MS and now < self._unchanged_until and self._has_nothing_new():
            self.quick = 0
            self._interval_ms = max(self._interval_ms, min(2 * self._interval_ms, self._longest_ms))
            self._look_again(now)
            return
        elapsed_ms = (now - self._looked_at) * 1000
        share = (cpu_ms - self._cpu_ms) / elapsed_ms if elapsed_ms > 0 else 0.0
        self._looked_at, self._cpu_ms = now, cpu_ms
        self._load += (share - self._load) * (1 - math.exp(-elapsed_ms / MEMORY_OF_LOAD_MS))
        self.is_busy = self._load >= BUSY
        self._count_requests(now, elapsed_ms)
        before_mb = self.usage.memory_mb
        self.usage = self._measure(now)
        growth = (self.usage.memory_mb - before_mb) / elapsed_ms if elapsed_ms > 0 else 0.0
        self._plan(now, share, growth)
        self._listen(elapsed_ms, share)
        self._reader.measured(self.usage, limits.judge(self.usage, self._allowed))

    def _count_requests(self, now: float, elapsed_ms: float) -> None:
        worker = self._worker
        begun = worker.requests_begun - self._requests_begun
        self._requests_begun += begun
        self.quick = int(begun * QUICK_MS / elapsed_ms) if elapsed_ms > 0 else 0
        if worker.requests or begun:
            self._asked_at = now

    def _measure(self, now: float) -> Usage:
        cpu_ms, memory_mb = self._gauge.family() if self._has_family else (self._cpu_ms, self._weigh())
        return Usage(
            wall_ms=(now - self._began_at) * 1000 if self._is_ready else 0,
            cpu_ms=cpu_ms - self._cpu_at_ready_ms if self._is_ready else 0,
            memory_mb=memory_mb + self._worker.open_tasks * TASK_MB,
            memory_at_ready_mb=self._memory_at_ready_mb,
            idle_ms=(now - self._asked_at) * 1000,
        )

    def _has_nothing_new(self) -> bool:
        worker = self._worker
        if worker.requests or worker.requests_begun != self._requests_begun:
            return False
        if self.is_busy or self._is_held_up:
            # If it does nothing any more, that is new.
            return False
        return not self._has_family or self._gauge.is_alone()

    def _weigh(self) -> float:
        if self._cpu_ms - self._weighed_at_cpu_ms >= COPYING_MS:
            self._weighed_at_cpu_ms = self._cpu_ms
            self._weighed_mb = self._gauge.memory_mb()
        return self._weighed_mb

    def _plan(self, now: float, share: float, growth: float) -> None:
        is_working = self._worker.is_working
        most = LONGEST_AT_WORK_MS if is_working else LONGEST_AT_REST_MS
        self._longest_ms = min(most, limits.next_look_ms(self.usage, self._allowed, growth))
        least = LOOK_MS if is_working else LONGEST_AT_WORK_MS
        if share >= COMPUTING or not self._is_ready:
            self._interval_ms = LOOK_MS
        else:
            self._interval_ms = max(least, min(2 * self._interval_ms, self._longest_ms))
        at_rest_ms = limits.next_look_at_rest_ms(self.usage, self._allowed) - LONGEST_AT_REST_MS
        self._unchanged_until = now + min(LONGEST_UNWEIGHED_MS, at_rest_ms) / 1000
        self._look_again(now)

    def _look_again(self, now: float) -> None:
        self.rests = self._interval_ms > LOOK_MS
        self.due = now + self._interval_ms / 1000
        self.may_be_early_at = now + self._interval_ms * EARLIEST / 1000

    def _listen(self, elapsed_ms: float, share: float) -> None:
        """Tells apart an event loop that has much to do from one that does not get to do anything."""
        signs, self._signs_of_life = self._signs_of_life, self._worker.signs_of_life
        self._silent_ms = self._silent_ms + elapsed_ms if share >= BUSY and signs == self._signs_of_life else 0.0
        is_held_up = self._silent_ms >= HELD_UP_MS
        if is_held_up is not self._is_held_up:
            self._is_held_up = is_held_up
            self._reader.held_up(is_held_up)
