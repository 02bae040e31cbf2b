"""The requests of one function that wait for a worker."""

import asyncio
from collections import deque
from collections.abc import Callable

from outlast.core.outcome import RequestEnd
from outlast.supervisor.exchange import Exchange
from outlast.telemetry.counts import WAIT_BUCKETS_MS, Histogram
from outlast.wire.idle import LATE_S

MAX_WAIT_S = 10.0
MAX_FETCHING_S = 150.0
"""Where what the function imports is fetched meanwhile. Supabase's own gateway waits as long for an answer."""
LOOK_EVERY_S = 1.0
"""How often it is asked whether that goes on."""
RETRY_AFTER_S = 1


class Backlog:
    """Oldest first. A request leaves it for a worker, because its caller has left, or after `MAX_WAIT_S`.

    The time in which what the function imports is fetched does not count, up to `MAX_FETCHING_S`; nor does that in
    which the node stood still.
    """

    def __init__(
        self,
        is_fetching: Callable[[], bool],
        overdue_end: Callable[[], tuple[RequestEnd, str]],
        on_overdue: Callable[[], None],
    ) -> None:
        """
        Args:
            overdue_end: says how a request ends that has waited too long, and why if there is more to say of that.
            on_overdue: is called after that.
        """
        self._loop = asyncio.get_running_loop()
        self.waiting: deque[Exchange] = deque()
        """Changed by nobody else."""
        self._is_fetching = is_fetching
        self._fetching_until = self._stood_until = 0.0
        """As of the last look, on the event loop's clock."""
        self._overdue_end = overdue_end
        self._on_overdue = on_overdue
        self._timer: asyncio.TimerHandle | None = None
        self.waits = Histogram(WAIT_BUCKETS_MS)
        """How long requests waited, those included that found no worker."""

    def awaits(self, generation: int) -> bool:
        """Whether a worker of this generation could serve one of them."""
        return any(exchange.generation <= generation for exchange in self.waiting)

    def add(self, exchange: Exchange) -> None:
        if exchange.waits_since:
            # Its worker turned out to be gone: it is next, and its waiting time goes on.
            self.waiting.appendleft(exchange)
        else:
            exchange.waits_since = self._loop.time()
            self.waiting.append(exchange)
        if self._timer is None:
            self._look_later()

    def remove(self, exchange: Exchange) -> bool:
        """Returns whether it was there."""
        try:
            self.waiting.remove(exchange)
        except ValueError:
            return False
        self.waits.add((self._loop.time() - exchange.waits_since) * 1000)
        return True

    def pop(self) -> Exchange:
        """Removes the oldest."""
        oldest = self.waiting[0]
        self.remove(oldest)
        return oldest

    def fail(self, end: RequestEnd, count: int | None = None, why: str = "") -> None:
        """Fails the oldest ``count`` requests, or all. ``why``: see `outlast.wire.invocation.Reply.fail`."""
        failed = [*self.waiting][:count]
        for exchange in failed:
            self.remove(exchange)
        for exchange in failed:
            exchange.fail(end, why)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, due: float) -> None:
        self._timer = None
        now = self._loop.time()
        if now - due > LATE_S:
            self._stood_until = now
        if self._is_fetching():
            self._fetching_until = now
        if self.waiting and self._due() <= now:
            self._fail_overdue(now)
        if self.waiting and self._timer is None:
            self._look_later()

    def _fail_overdue(self, now: float) -> None:
        end, why = self._overdue_end()
        while self.waiting and self._due() <= now:
            self.pop().fail(end, why, retry_after_s=RETRY_AFTER_S)
        self._on_overdue()

    def _due(self) -> float:
        """When the oldest has waited too long."""
        since = max(self.waiting[0].waits_since, self._stood_until)
        return min(max(since, self._fetching_until) + MAX_WAIT_S, since + MAX_FETCHING_S)

    def _look_later(self) -> None:
        due = min(self._due(), self._loop.time() + LOOK_EVERY_S)
        self._timer = self._loop.call_at(due, self._look, due)
