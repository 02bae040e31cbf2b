"""Runs works: all entrants of one in turns, so that whatever else the machine does falls on each of them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from bench.connection import BenchError
from bench.project import Function
from bench.stage import Stage
from bench.work import Effort, Finding, Samples, Work, judge

Progress = Callable[[str, float], object]
"""Told what is going on, and how much of the work is done, from 0 to 1."""


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
    rounds = effort.of(*work.rounds)
    samples = Samples()
    began_at = datetime.now(UTC)
    progress("starting", 0)
    with work.entrants(stage, effort) as found:
        entrants = [*found]
        for entrant in entrants:
            if entrant.warm_up is not None:
                progress(f"{entrant.name}, warming up", 0)
                entrant.warm_up()
        for number in range(rounds):
            for place, entrant in enumerate(entrants):
                progress(
                    f"{entrant.name}, round {number + 1} of {rounds}",
                    (number + place / len(entrants)) / rounds,
                )
                try:
                    samples.add(entrant.name, entrant.measure())
                except BenchError as error:
                    raise BenchError(f"{work.name}, {entrant.name}: {error}") from error
    progress("done", 1)
    return Finding(
        work=work.name,
        title=work.title,
        effort=effort.value,
        began=began_at.isoformat(timespec="seconds"),
        rows=[judge(target, samples, stage.missing) for target in work.targets],
        rounds=samples.rounds,
        missing=dict(stage.missing),
    )
