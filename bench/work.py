"""What a work is: who does it, what is measured of each, and what is wanted of the figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import NamedTuple, TypeVar

from bench.project import Function
from bench.stage import Stage

T = TypeVar("T")

Figures = Mapping[str, float]
"""Of one round, by the name of what was measured."""


class Effort(Enum):
    """How much is put into a run."""

    SMOKE = "smoke"
    """Does everything run? The figures mean nothing."""
    QUICK = "quick"
    FULL = "full"

    def of(self, smoke: T, quick: T, full: T) -> T:
        return {Effort.SMOKE: smoke, Effort.QUICK: quick, Effort.FULL: full}[self]


class Entrant(NamedTuple):
    """Who does the work. ``measure`` is called once a round, all entrants in turn."""

    name: str
    measure: Callable[[], Figures]
    warm_up: Callable[[], object] | None = None
    """Called once, before the first round."""


@dataclass(frozen=True)
class Target:
    """A figure, or its ratio to that of others, and what is wanted of it; nothing is wanted where no bound is given.

    Where it names several others, the ratio is to the one that is best: that with the least figure.
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
            return f">= {self.at_least:g}{self._unit}"
        return f"<= {self.at_most:g}{self._unit}" if self.at_most is not None else ""

    @property
    def _unit(self) -> str:
        return " x" if self.to else f" {self.unit}".rstrip()


class Shown(NamedTuple):
    """The figure that tells the entrants of a work apart."""

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
        """Nothing if there was no such entrant."""
        return [figures[figure] for figures in self.rounds.get(name, ()) if figure in figures]


@dataclass(frozen=True)
class Row:
    """What came of one target."""

    title: str
    wanted: str
    result: str = ""
    spread: str = ""
    is_met: bool | None = None
    """None where nothing was wanted, or nothing could be measured."""
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
    """Served by the node that the works share: `Stage.node`."""
    own: Callable[[Effort], Mapping[str, Function]] = lambda effort: {}
    """Served by a node of this work's own, which it starts; a smoke run makes do with the shared one."""
    rounds: tuple[int, int, int] = (1, 2, 5)
    """By effort."""
    in_quick: bool = True
    """Or only when asked for by name, or in a full run."""


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
        return _row(target, median(ours), ours, f" {target.unit}".rstrip())
    best = min(theirs, key=lambda name: median(theirs[name]))
    ratios = [one / other for one, other in zip(ours, theirs[best], strict=False)]
    row = _row(target, median(ours) / median(theirs[best]), ratios, " x")
    if len(others) == 1:
        return row
    without = f", without {', '.join(absent)}" if absent else ""
    return Row(row.title, row.wanted, f"{row.result} {best}{without}", row.spread, row.is_met, row.value)


def _row(target: Target, value: float, rounds: Sequence[float], unit: str) -> Row:
    is_met = None
    if target.at_least is not None:
        is_met = value >= target.at_least
    elif target.at_most is not None:
        is_met = value <= target.at_most
    return Row(target.title, target.wanted, number(value) + unit, spread(rounds), is_met, value)


def spread(rounds: Sequence[float]) -> str:
    """The least and the greatest, where there are several."""
    return f"{number(min(rounds))} to {number(max(rounds))}" if len(rounds) > 1 else ""


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}"


@dataclass(frozen=True)
class Finding:
    """All that one work found."""

    work: str
    title: str
    effort: str
    began: str
    """RFC 3339."""
    rows: Sequence[Row]
    rounds: Mapping[str, Sequence[Figures]]
    missing: Mapping[str, str]
