"""Decides which worker gets a request: one that is ready, a new one, the next to become free, or none; and when a new
one may be started after others have failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Protocol, TypeVar

from outlast.core.policy import Policy


class Place(Enum):
    """What to do with a request that no worker can take at once."""

    START = "start"
    """Start another worker; the request waits for the first one to become free."""
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Scale:
    """``[functions.NAME.scale]`` of outlast.toml: how far a function may grow."""

    max_workers: int | None = None
    """None: two for each CPU of the machine; with one request a worker, as many as CPUs, but at least 16."""
    concurrency: int = 100
    """Requests that one worker handles at the same time, where the policy allows more than one."""
    standby: int = 1
    """Workers started ahead for a function in use, without evaluating its code."""
    max_backlog: int = 1_000
    """Requests that may wait for a worker; further ones are refused."""


@dataclass(frozen=True)
class Capacity:
    """How far one function may grow under its policy."""

    per_worker: int
    """Requests that one worker handles at the same time."""
    max_workers: int
    """Workers that take requests or are about to."""
    max_backlog: int


_WORKERS_PER_CPU = 2
"""While code computes that does not give way, as many others have their event loops free, which need a CPU for only a
moment at a time."""
_FEWEST_OF_ONE_REQUEST = 16
"""With one request each, workers mostly wait, as their requests do, so more of them fit on a CPU."""


def capacity(policy: Policy, scale: Scale, cpus: int) -> Capacity:
    if policy is Policy.PER_WORKER:
        return Capacity(scale.concurrency, scale.max_workers or _WORKERS_PER_CPU * cpus, scale.max_backlog)
    return Capacity(1, scale.max_workers or max(cpus, _FEWEST_OF_ONE_REQUEST), scale.max_backlog)


class Worker(Protocol):
    """What the choice depends on."""

    requests: int
    """How many it has now."""

    @property
    def quick(self) -> int:
        """How many requests it can finish in next to no time, judging by its recent ones."""

    @property
    def open_tasks(self) -> int:
        """How many tasks it has, which may be what it is at work for."""

    def is_running(self) -> bool:
        """Whether its event loop is at work at this moment. Called only when the answer matters."""


_W = TypeVar("_W", bound=Worker)
_requests = attrgetter("requests")
_work = attrgetter("requests", "open_tasks")


def choose(workers: Sequence[_W], capacity: Capacity) -> _W | None:
    """The worker that gets a request, or None if none has room.

    That is the first worker as long as it is quick: for a process that is awake, one more request costs less than
    waking another process. Otherwise it is the least loaded worker whose event loop is free. Where none is free, it is
    the least loaded one, and of several the one with the fewest tasks: one that has none is about to be free.
    """
    if not workers:
        return None
    first = workers[0]
    is_alone = len(workers) == 1
    if first.requests < capacity.per_worker and (is_alone or first.requests < first.quick):
        return first
    least_loaded = min(workers, key=_requests)
    if least_loaded.requests >= capacity.per_worker:
        return None
    if not least_loaded.is_running():
        return least_loaded
    for worker in sorted(workers, key=_requests)[1:]:
        if worker.requests < capacity.per_worker and not worker.is_running():
            return worker
    return min(workers, key=_work)


def place(capacity: Capacity, *, alive: int, starting: int, waiting: int) -> Place:
    """What to do with a request that `choose` found no worker for.

    Args:
        alive: workers that take requests or will, including those that are starting.
        starting: workers on their way to taking requests.
        waiting: requests that are waiting already.
    """
    if waiting >= capacity.max_backlog:
        return Place.REFUSE
    if alive < capacity.max_workers and starting * capacity.per_worker <= waiting:
        return Place.START
    return Place.WAIT


FREE_FAILURES = 2
"""Starts that may fail in a row before the next one has to wait."""
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 8.0
"""Shorter than requests wait for a worker, so that each is answered by an attempt made while it waited."""


def boot_delay_s(failures: int) -> float:
    """How long the next start has to wait after this many failures in a row."""
    if failures <= FREE_FAILURES:
        return 0.0
    return min(FIRST_DELAY_S * 2.0 ** (failures - FREE_FAILURES - 1), LONGEST_DELAY_S)
