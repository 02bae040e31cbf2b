"""Rounds in which the host took much of the CPU time are not counted if calmer ones can be had."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from bench.runner import MOST_STOLEN_PERCENT, in_turns
from bench.work import Entrant, Figures

from bench import machine

CALM, LOUD, LOUDER = MOST_STOLEN_PERCENT, MOST_STOLEN_PERCENT + 1, MOST_STOLEN_PERCENT + 2


def counting(name: str, order: list[str]) -> Entrant:
    def measure() -> Figures:
        order.append(name)
        return {"measured": len(order)}

    return Entrant(name, measure)


def rounds_when(
    stolen: Sequence[float], monkeypatch: pytest.MonkeyPatch, wanted: int, *, can_repeat: bool
) -> list[tuple[float, float]]:
    """Which of the rounds counted, from 1, and what was stolen in each. ``stolen``: in one round after the other."""
    left: Iterator[float] = iter(stolen)

    def stolen_percent() -> Callable[[], float]:
        return lambda: next(left)

    monkeypatch.setattr(machine, "stolen_percent", stolen_percent)
    order: list[str] = []
    found = in_turns(
        [counting("a", order), counting("b", order)], wanted, lambda doing, share: None, can_repeat=can_repeat
    )
    assert order == ["a", "b"] * (len(order) // 2)
    return [(figures["b"]["measured"] / 2, percent) for figures, percent in found]


def test_calm_rounds_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds_when([CALM, 0], monkeypatch, 2, can_repeat=True) == [(2, 0), (1, CALM)]


def test_the_calmest_of_twice_as_many_rounds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds_when([LOUD, CALM, LOUDER, 0], monkeypatch, 2, can_repeat=True) == [(4, 0), (2, CALM)]
    assert rounds_when([LOUD, LOUDER, LOUDER, LOUDER], monkeypatch, 2, can_repeat=True) == [(1, LOUD), (2, LOUDER)]


def test_a_single_round_and_a_quick_run_are_taken_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds_when([LOUD], monkeypatch, 1, can_repeat=True) == [(1, LOUD)]
    assert rounds_when([LOUD, LOUDER], monkeypatch, 2, can_repeat=False) == [(1, LOUD), (2, LOUDER)]


def test_what_was_stolen_is_a_share_of_the_time_since() -> None:
    stolen_percent = machine.stolen_percent()
    assert 0 <= stolen_percent() <= 100
