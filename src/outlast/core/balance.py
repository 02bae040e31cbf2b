"""Which worker gets a request: one that is up, a new one, the next that is free, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from outlast.core.policy import Policy


class Place(Enum):
    """What to do with a request that no worker can take at once."""

    START = "start"
    """Start another worker; the request waits for the first that is free."""
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Scale:
    """``[functions.NAME.scale]`` of outlast.toml: how far a function may grow."""

    max_workers: int | None = None
    """None: as many as the machine has CPUs; with one request a worker, at least 16."""
    concurrency: int = 100
    """Requests that one worker has at the same time, where the policy allows more than one."""
    standby: int = 1
    """Workers of a function in use that are started ahead, their code not evaluated."""
    max_backlog: int = 1_000
    """Requests that wait for a worker; the next is refused."""


@dataclass(frozen=True)
class Capacity:
    """How far one function may grow."""

    per_worker: int | None
    """Requests that one worker has at the same time; None: as many as there are."""
    max_workers: int
    max_backlog: int = 1000
    """Requests that wait for a worker; the next is refused."""


CAPACITY = {
    Policy.PER_WORKER: Capacity(per_worker=None, max_workers=1),
    Policy.PER_REQUEST: Capacity(per_worker=1, max_workers=16),
    Policy.ONESHOT: Capacity(per_worker=1, max_workers=16),
}


def choose(loads: Sequence[int], capacity: Capacity) -> int | None:
    """The index of the least loaded ready worker that has room, or None. ``loads``: requests in each."""
    if not loads:
        return None
    index = min(range(len(loads)), key=loads.__getitem__) if len(loads) > 1 else 0
    if capacity.per_worker is not None and loads[index] >= capacity.per_worker:
        return None
    return index


def place(capacity: Capacity, *, alive: int, starting: int, waiting: int) -> Place:
    """What to do with a request that `choose` found no worker for.

    Args:
        alive: workers that take requests or will, those that start included.
        starting: workers that are on their way to take requests.
        waiting: requests that wait already.
    """
    if waiting >= capacity.max_backlog:
        return Place.REFUSE
    if alive < capacity.max_workers and starting * (capacity.per_worker or waiting + 1) <= waiting:
        return Place.START
    return Place.WAIT
