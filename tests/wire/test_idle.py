"""The timer for silence, with a clock that the test moves."""

import heapq
from collections.abc import Callable
from itertools import count

import pytest

from outlast.wire.idle import IdleTimer


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, int, Handle, Callable[[], object]]] = []
        self._order = count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Handle:
        handle = Handle()
        heapq.heappush(self.calls, (self.now + delay, next(self._order), handle, callback))
        return handle

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and self.calls[0][0] <= end:
            due, _, handle, callback = heapq.heappop(self.calls)
            self.now = max(due, self.now)
            if not handle.cancelled:
                callback()
        self.now = end

    @property
    def pending(self) -> int:
        return sum(not handle.cancelled for _, _, handle, _ in self.calls)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fired(clock: Clock) -> list[float]:
    return []


@pytest.fixture
def timer(clock: Clock, fired: list[float]) -> IdleTimer:
    return IdleTimer(clock, lambda: fired.append(clock.now - 1000))


def test_silence_is_told_once(clock: Clock, timer: IdleTimer, fired: list[float]) -> None:
    timer.expect(10)
    clock.pass_by(9.9)
    assert fired == []
    clock.pass_by(100)
    assert fired == [10]


def test_a_sign_of_life_counts_from_when_it_came(clock: Clock, timer: IdleTimer, fired: list[float]) -> None:
    timer.expect(10)
    clock.pass_by(9)
    timer.touch()
    clock.pass_by(9)
    assert fired == []
    clock.pass_by(1)
    assert fired == [19]


@pytest.mark.parametrize("stopped_between", [False, True])
def test_a_shorter_limit_counts_at_once(
    clock: Clock, timer: IdleTimer, fired: list[float], stopped_between: bool
) -> None:
    timer.expect(75)
    clock.pass_by(1)
    if stopped_between:
        timer.expect(0)
    timer.expect(10)
    clock.pass_by(100)
    assert fired == [11]


def test_a_longer_limit_counts_at_once(clock: Clock, timer: IdleTimer, fired: list[float]) -> None:
    timer.expect(10)
    clock.pass_by(1)
    timer.expect(75)
    clock.pass_by(100)
    assert fired == [76]


@pytest.mark.parametrize("stop", [lambda timer: timer.expect(0), IdleTimer.cancel], ids=["expect(0)", "cancel"])
def test_a_stopped_timer_is_silent_until_something_is_expected_again(
    clock: Clock, timer: IdleTimer, fired: list[float], stop: Callable[[IdleTimer], None]
) -> None:
    timer.expect(10)
    stop(timer)
    timer.touch()
    clock.pass_by(100)
    assert fired == []
    timer.expect(10)
    clock.pass_by(10)
    assert fired == [110]


def test_time_in_which_nobody_looked_is_no_silence(clock: Clock, timer: IdleTimer, fired: list[float]) -> None:
    timer.expect(10)
    clock.pass_by(9)
    clock.now += 100
    clock.pass_by(0)
    assert fired == []
    # What has come meanwhile is read now.
    timer.touch()
    clock.pass_by(9.9)
    assert fired == []
    clock.pass_by(0.1)
    assert fired == [119]


def test_many_requests_cost_one_timer(clock: Clock, timer: IdleTimer, fired: list[float]) -> None:
    for _ in range(1000):
        timer.expect(75)
        clock.pass_by(0.01)
        timer.expect(0)
    timer.expect(75)
    assert clock.pending == 1
    assert len(clock.calls) == 1
    clock.pass_by(75)
    assert fired == [pytest.approx(85)]
