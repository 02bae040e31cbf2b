"""What a work is: who takes part, what is measured, and the targets for the figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from statistics import median
from typing import NamedTuple, TypeVar

from bench.project import Function
from bench.stage import Stage

T = TypeVar("T")

Figures = Mapping[str, float]
"""The figures of one round, by name."""


class Effort(Enum):
    """How long to measure."""

    SMOKE = "smoke"
    """Only to see that everything runs: the figures mean nothing."""
    QUICK = "quick"
    FULL = "full"

    def of(self, smoke: T, quick: T, full: T) -> T:
        return {Effort.SMOKE: smoke, Effort.QUICK: quick, Effort.FULL: full}[self]


class Entrant(NamedTuple):
    """A contender. ``measure`` is called once a round, for all entrants in turn."""

    name: str
    measure: Callable[[], Figures]
    warm_up: Callable[[], object] | None = None
    """Called once, before the first round."""


@dataclass(frozen=True)
class Target:
    """A target for a figure, or for its ratio to that of others. Without a bound it is just reported.

    If it names several others, the ratio is to the best of them: the one with the least figure.
    """

    title: str
    figure: str
    of: str
    to: str | tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def wanted(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.shown_unit}".rstrip()
        return f"<= {self.at_most:g} {self.shown_unit}".rstrip() if self.at_most is not None else ""

    @property
    def shown_unit(self) -> str:
        return "x" if self.to else self.unit


class Shown(NamedTuple):
    """The figure by which the entrants of a work are compared."""

    figure: str
    unit: str
    better: str
    """``more`` or ``less``."""


class Samples:
    """The rounds of every entrant, in the order in which they were run."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[Figures]] = {}

    def add(self, name: str, figures: Figures) -> None:
        self.rounds.setdefault(name, []).append(figures)

    def of(self, name: str, figure: str) -> list[float]:
        """A figure of every round; empty if there was no such entrant."""
        return [figures[figure] for figures in self.rounds.get(name, ()) if figure in figures]


@dataclass(frozen=True)
class Row:
    """The result for one target."""

    title: str
    wanted: str
    result: str = ""
    spread: str = ""
    is_met: bool | None = None
    """None if there was no bound, or nothing could be measured."""
    value: float | None = None


@dataclass(frozen=True)
class Work:
    """One thing that servers do."""

    name: str
    title: str
    entrants: Callable[[Stage, Effort], AbstractContextManager[Iterable[Entrant]]]
    targets: Sequence[Target]
    shown: Shown | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
    """Served by the node that works share: `Stage.node`."""
    own: Callable[[Effort], Mapping[str, Function]] = lambda effort: {}
    """Served by a node that this work starts for itself; in a smoke run, by the shared one."""
    rounds: tuple[int, int, int] = (1, 2, 5)
    """How many, by effort."""
    in_quick: bool = True
    """Whether it is part of a quick run that names no works."""


def judge(target: Target, samples: Samples, missing: Mapping[str, str]) -> Row:
    """``missing``: why an entrant that could have been there was not."""
    ours = samples.of(target.of, target.figure)
    others = (target.to,) if isinstance(target.to, str) else target.to
    theirs = {name: found for name in others if (found := samples.of(name, target.figure))}
    absent = [name for name in (target.of, *others) if name in missing]
    if not ours or (others and not theirs):
        reason = missing[absent[0]] if absent else "not measured"
        return Row(target.title, target.wanted, reason)
    if not others:
        return _row(target, median(ours), ours)
    best = min(theirs, key=lambda name: median(theirs[name]))
    ratios = [one / other for one, other in zip(ours, theirs[best], strict=False)]
    row = _row(target, median(ours) / median(theirs[best]), ratios)
    if len(others) == 1:
        return row
    without = f", without {', '.join(absent)}" if absent else ""
    return replace(row, result=f"{row.result} {best}{without}")


def _row(target: Target, value: float, rounds: Sequence[float]) -> Row:
    is_met = None
    if target.at_least is not None:
        is_met = value >= target.at_least
    elif target.at_most is not None:
        is_met = value <= target.at_most
    return Row(target.title, target.wanted, number(value, target.shown_unit), spread(rounds), is_met, value)


def spread(rounds: Sequence[float]) -> str:
    """The least and the greatest, if there are several."""
    return f"{number(min(rounds))} to {number(max(rounds))}" if len(rounds) > 1 else ""


def number(value: float, unit: str = "") -> str:
    """The value with three digits, or all digits before the point."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


@dataclass(frozen=True)
class Finding:
    """The results of one work."""

    work: str
    title: str
    effort: str
    began: str
    """RFC 3339."""
    rows: Sequence[Row]
    rounds: Mapping[str, Sequence[Figures]]
    missing: Mapping[str, str]
    stolen_percent: float
    """Of the CPU time of the machine, what its host gave to others while this was measured."""
