"""Which worker gets a request, when another is started, and when it is too much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import balance
from outlast.core.balance import CAPACITY, Capacity, Place
from outlast.core.policy import Policy

MANY = Capacity(per_worker=None, max_workers=1)
ONE = Capacity(per_worker=1, max_workers=3, max_backlog=5)


@pytest.mark.parametrize(
    ("loads", "capacity", "index"),
    [
        ([], MANY, None),
        ([], ONE, None),
        ([1000], MANY, 0),
        ([1], ONE, None),
        ([0], ONE, 0),
        ([1, 1, 0], ONE, 2),
        ([1, 1, 1], ONE, None),
        ([3, 2, 2], MANY, 1),
    ],
)
def test_choose(loads: list[int], capacity: Capacity, index: int | None) -> None:
    assert balance.choose(loads, capacity) == index


@given(loads=st.lists(st.integers(0, 9)), per_worker=st.none() | st.integers(1, 9))
def test_choose_takes_the_least_loaded_and_never_one_that_is_full(loads: list[int], per_worker: int | None) -> None:
    index = balance.choose(loads, Capacity(per_worker=per_worker, max_workers=9))
    if index is None:
        assert per_worker is not None or not loads
        assert all(load >= (per_worker or 0) for load in loads)
    else:
        assert loads[index] == min(loads)
        assert per_worker is None or loads[index] < per_worker


@pytest.mark.parametrize(
    ("alive", "starting", "waiting", "place"),
    [
        # Nobody there: the first request starts one, the others wait for it.
        (0, 0, 0, Place.START),
        (1, 1, 1, Place.WAIT),
        (1, 1, 999, Place.WAIT),
        (1, 1, 1000, Place.REFUSE),
        # It is gone while some wait.
        (0, 0, 7, Place.START),
    ],
)
def test_one_worker_for_all(alive: int, starting: int, waiting: int, place: Place) -> None:
    assert balance.place(MANY, alive=alive, starting=starting, waiting=waiting) is place


@pytest.mark.parametrize(
    ("alive", "starting", "waiting", "place"),
    [
        (0, 0, 0, Place.START),
        # Each that waits has one coming; the next needs one more.
        (1, 1, 1, Place.START),
        (2, 2, 2, Place.START),
        # More are coming than are waited for.
        (2, 2, 1, Place.WAIT),
        (2, 1, 0, Place.WAIT),
        # All that there may be.
        (3, 0, 0, Place.WAIT),
        (3, 3, 4, Place.WAIT),
        (3, 3, 5, Place.REFUSE),
        (0, 0, 5, Place.REFUSE),
    ],
)
def test_a_worker_for_each(alive: int, starting: int, waiting: int, place: Place) -> None:
    assert balance.place(ONE, alive=alive, starting=starting, waiting=waiting) is place


@given(alive=st.integers(0, 5), starting=st.integers(0, 5), waiting=st.integers(0, 10))
def test_never_more_than_there_may_be_and_never_stuck(alive: int, starting: int, waiting: int) -> None:
    place = balance.place(ONE, alive=alive, starting=min(starting, alive), waiting=waiting)
    if place is Place.START:
        assert alive < ONE.max_workers
    if place is Place.WAIT:
        assert alive > 0, "for whom?"


def test_every_policy_has_a_capacity() -> None:
    assert {*CAPACITY} == {*Policy}
    assert CAPACITY[Policy.PER_WORKER].per_worker is None
    assert CAPACITY[Policy.PER_REQUEST].per_worker == CAPACITY[Policy.ONESHOT].per_worker == 1
