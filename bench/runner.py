"""Runs works: all entrants of one in turns, so that whatever else the machine does falls on each of them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from statistics import fmean

from bench import machine
from bench.connection import BenchError
from bench.project import Function
from bench.stage import Stage
from bench.work import Effort, Entrant, Figures, Finding, Samples, Work, judge

Progress = Callable[[str, float], object]
"""Told what is going on, and how much of the work is done, from 0 to 1."""

MOST_STOLEN_PERCENT = 3.0
"""A round in which the host of a virtual machine took more than this gets another chance, in a full run."""


def run(
    works: Sequence[Work],
    effort: Effort,
    progress: Callable[[Work], Progress],
    on_failure: Callable[[BenchError], object],
) -> Iterator[Finding]:
    """``on_failure``: told of each work that could not be measured; the others go on. Raises BenchError if none can."""
    shared: dict[str, Function] = {}
    for work in works:
        shared.update(work.functions)
        if effort is Effort.SMOKE:
            # To start a node takes longer than a blink of most works.
            shared.update(work.own(effort))
    with Stage(shared, is_frugal=effort is Effort.SMOKE) as stage:
        for work in works:
            with stage.scene():
                try:
                    finding = _run(work, stage, effort, progress(work))
                except BenchError as error:
                    on_failure(error)
                else:
                    yield finding


def _run(work: Work, stage: Stage, effort: Effort, progress: Progress) -> Finding:
    began_at = datetime.now(UTC)
    progress("starting", 0)
    with work.entrants(stage, effort) as found:
        entrants = [*found]
        for entrant in entrants:
            if entrant.warm_up is not None:
                progress(f"{entrant.name}, warming up", 0)
                entrant.warm_up()
        try:
            rounds = in_turns(entrants, effort.of(*work.rounds), progress, can_repeat=effort is Effort.FULL)
        except BenchError as error:
            raise BenchError(f"{work.name}, {error}") from error
    progress("done", 1)
    samples = Samples()
    for figures, _ in rounds:
        for name, found_of_one in figures.items():
            samples.add(name, found_of_one)
    return Finding(
        work=work.name,
        title=work.title,
        effort=effort.value,
        began=began_at.isoformat(timespec="seconds"),
        rows=[judge(target, samples, stage.missing) for target in work.targets],
        rounds=samples.rounds,
        missing=dict(stage.missing),
        stolen_percent=round(fmean(stolen for _, stolen in rounds), 2),
    )


Round = tuple[dict[str, Figures], float]
"""The figures of each entrant, and how many percent of the CPU time the host took meanwhile."""


def in_turns(entrants: Sequence[Entrant], wanted: int, progress: Progress, *, can_repeat: bool) -> list[Round]:
    """So many rounds. If they can be repeated, these are the calmest of up to twice as many."""
    most = 2 * wanted if can_repeat and wanted > 1 else wanted
    taken: list[Round] = []
    while len(taken) < most and sum(stolen <= MOST_STOLEN_PERCENT for _, stolen in taken) < wanted:
        figures = {}
        stolen_percent = machine.stolen_percent()
        for place, entrant in enumerate(entrants):
            share = min((len(taken) + place / len(entrants)) / wanted, 1)
            progress(f"{entrant.name}, round {len(taken) + 1}", share)
            try:
                figures[entrant.name] = entrant.measure()
            except BenchError as error:
                raise BenchError(f"{entrant.name}: {error}") from error
        taken.append((figures, stolen_percent()))
    return sorted(taken, key=lambda one: one[1])[:wanted]
