"""Two servers measured in turns, so that whatever else the machine does falls on both."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench import load
from bench.load import Load


@dataclass(frozen=True)
class Comparison:
    """Rounds in the order in which they were run: ``ours[0]``, ``theirs[0]``, ``ours[1]``, ..."""

    ours: tuple[Load, ...]
    theirs: tuple[Load, ...]

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return throughput(self.ours) / throughput(self.theirs)

    @property
    def ratios(self) -> list[float]:
        """Of each pair of rounds: the spread of ``ratio``."""
        return [
            ours.requests_per_s / theirs.requests_per_s for ours, theirs in zip(self.ours, self.theirs, strict=True)
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "ratio": round(self.ratio, 4),
            "ratio_lowest": round(min(self.ratios), 4),
            "ratio_highest": round(max(self.ratios), 4),
            **{
                name: {"requests_per_s": round(throughput(rounds), 1), "rounds": [asdict(one) for one in rounds]}
                for name, rounds in (("outlast", self.ours), ("peer", self.theirs))
            },
        }


def throughput(rounds: tuple[Load, ...]) -> float:
    """The median, in requests a second."""
    return median(one.requests_per_s for one in rounds)


def compare(
    ours: str,
    theirs: str,
    *,
    rounds: int,
    seconds: int,
    connections: int,
    note: Callable[[str], object],
    names: tuple[str, str] = ("outlast", "peer"),
) -> Comparison:
    """Warms both addresses up, then measures them in turns. ``note`` gets a line for each round."""
    our_name, their_name = names

    def measured() -> Iterator[tuple[str, Load]]:
        for url in (ours, theirs):
            load.run(url, seconds=1 if seconds < 5 else 3, connections=connections)
        for number in range(1, rounds + 1):
            for name, url in ((our_name, ours), (their_name, theirs)):
                one = load.run(url, seconds=seconds, connections=connections)
                note(f"round {number}: {name:<8} {one.requests_per_s:>9,.0f} requests/s, p99 {one.p99_ms:.1f} ms")
                yield name, one

    found = [*measured()]
    return Comparison(
        tuple(one for name, one in found if name == our_name),
        tuple(one for name, one in found if name == their_name),
    )
