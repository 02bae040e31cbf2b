"""Which worker gets a request, when another is started, and when it is too much."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import balance
from outlast.core.balance import Capacity, Place, Scale
from outlast.core.policy import Policy

MANY = Capacity(per_worker=100, max_workers=1, max_backlog=1000)
ONE = Capacity(per_worker=1, max_workers=3, max_backlog=5)


@dataclass
class Worker:
    index: int
    requests: int
    running: bool = False
    quick: int = 0
    open_tasks: int = 0

    def is_running(self) -> bool:
        return self.running


def choose(loads: list[int], capacity: Capacity, running: set[int]) -> int | None:
    workers = [Worker(index, load, index in running) for index, load in enumerate(loads)]
    chosen = balance.choose(workers, capacity)
    return chosen.index if chosen is not None else None


@pytest.mark.parametrize(
    ("loads", "capacity", "running", "index"),
    [
        ([], MANY, set(), None),
        ([], ONE, set(), None),
        ([99], MANY, {0}, 0),
        ([100], MANY, set(), None),
        ([1], ONE, set(), None),
        ([0], ONE, set(), 0),
        ([1, 1, 0], ONE, set(), 2),
        ([1, 1, 0], ONE, {2}, 2),
        ([1, 1, 1], ONE, set(), None),
        ([3, 2, 2], MANY, set(), 1),
        ([3, 2, 2], MANY, {1}, 2),
        ([3, 2, 2], MANY, {1, 2}, 0),
        ([3, 2, 2], MANY, {0, 1, 2}, 1),
    ],
)
def test_choose(loads: list[int], capacity: Capacity, running: set[int], index: int | None) -> None:
    assert choose(loads, capacity, running) == index


@given(loads=st.lists(st.integers(0, 9)), per_worker=st.integers(1, 9), running=st.sets(st.integers(0, 9)))
def test_choose_prefers_free_event_loops_then_little_load_and_never_one_that_is_full(
    loads: list[int], per_worker: int, running: set[int]
) -> None:
    index = choose(loads, Capacity(per_worker=per_worker, max_workers=9, max_backlog=9), running)
    with_room = {at for at, load in enumerate(loads) if load < per_worker}
    if index is None:
        assert not with_room
    else:
        candidates = with_room - running or with_room
        assert index in candidates
        assert loads[index] == min(loads[at] for at in candidates)


@pytest.mark.parametrize(
    ("workers", "index"),
    [
        ([Worker(0, 0, True, open_tasks=1), Worker(1, 0, True)], 1),
        ([Worker(0, 0, True, open_tasks=1), Worker(1, 1, True)], 0),
        ([Worker(0, 0, True, open_tasks=1), Worker(1, 0, True, open_tasks=1)], 0),
        ([Worker(0, 0, False, open_tasks=9), Worker(1, 0, True)], 0),
    ],
)
def test_choose_tells_event_loops_that_are_at_work_apart_by_their_tasks(workers: list[Worker], index: int) -> None:
    assert balance.choose(workers, MANY) is workers[index]


@given(loads=st.lists(st.integers(0, 9), min_size=1), quick=st.integers(0, 9), running=st.booleans())
def test_choose_stays_with_the_first_worker_as_long_as_it_is_quick(loads: list[int], quick: int, running: bool) -> None:
    workers = [Worker(index, load) for index, load in enumerate(loads)]
    slow = balance.choose(workers, Capacity(per_worker=5, max_workers=9, max_backlog=9))
    workers[0].quick, workers[0].running = quick, running
    chosen = balance.choose(workers, Capacity(per_worker=5, max_workers=9, max_backlog=9))
    if loads[0] < min(quick, 5):
        assert chosen is workers[0]
    elif not running:
        assert chosen is slow


def test_one_worker_alone_is_not_asked_whether_it_runs() -> None:
    class Alone(Worker):
        def is_running(self) -> bool:
            raise AssertionError

    worker = Alone(0, 3)
    assert balance.choose([worker], MANY) is worker


@pytest.mark.parametrize(
    ("alive", "starting", "waiting", "capacity", "place"),
    [
        (0, 0, 0, MANY, Place.START),
        (1, 1, 0, MANY, Place.WAIT),
        (1, 1, 99, MANY, Place.WAIT),
        (1, 1, 100, Capacity(per_worker=100, max_workers=2, max_backlog=1000), Place.START),
        (2, 2, 199, Capacity(per_worker=100, max_workers=3, max_backlog=1000), Place.WAIT),
        (2, 2, 200, Capacity(per_worker=100, max_workers=3, max_backlog=1000), Place.START),
        (0, 0, 0, ONE, Place.START),
        (1, 1, 0, ONE, Place.WAIT),
        (1, 1, 1, ONE, Place.START),
        (3, 0, 0, ONE, Place.WAIT),
        (3, 0, 4, ONE, Place.WAIT),
        (3, 0, 5, ONE, Place.REFUSE),
    ],
)
def test_place(alive: int, starting: int, waiting: int, capacity: Capacity, place: Place) -> None:
    assert balance.place(capacity, alive=alive, starting=starting, waiting=waiting) is place


@pytest.mark.parametrize(
    ("policy", "scale", "cpus", "per_worker", "max_workers"),
    [
        (Policy.PER_WORKER, Scale(), 2, 100, 4),
        (Policy.PER_WORKER, Scale(max_workers=5, concurrency=7), 2, 7, 5),
        (Policy.PER_REQUEST, Scale(), 2, 1, 16),
        (Policy.PER_REQUEST, Scale(), 64, 1, 64),
        (Policy.ONESHOT, Scale(max_workers=3, concurrency=7), 2, 1, 3),
    ],
)
def test_capacity_of_a_policy(policy: Policy, scale: Scale, cpus: int, per_worker: int, max_workers: int) -> None:
    capacity = balance.capacity(policy, scale, cpus)
    assert (capacity.per_worker, capacity.max_workers) == (per_worker, max_workers)
    assert capacity.max_backlog == scale.max_backlog


def test_a_few_starts_may_fail_then_each_waits_twice_as_long_up_to_a_bound() -> None:
    delays = [balance.boot_delay_s(failures) for failures in range(20)]
    assert delays[: balance.FREE_FAILURES + 1] == [0.0] * (balance.FREE_FAILURES + 1)
    growing = delays[balance.FREE_FAILURES + 1 :]
    assert growing[0] == balance.FIRST_DELAY_S
    for one, after in itertools.pairwise(growing):
        assert after == min(2 * one, balance.LONGEST_DELAY_S)
    assert growing[-1] == balance.LONGEST_DELAY_S
