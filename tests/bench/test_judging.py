"""What figures say of targets, and where they are kept."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.page import BEGIN, END, Measured
from bench.work import Finding, Row, Samples, Target, judge

from bench import page

MACHINE = {
    "commit": "abc",
    "processor": "a processor",
    "cpus": 2,
    "memory_gb": 8,
    "system": "Linux",
    "python": "3.11",
    "deno": "deno 2",
    "load_from": "wrk",
}


def samples(**rounds: list[float]) -> Samples:
    found = Samples()
    for name, values in rounds.items():
        for value in values:
            found.add(name, {"speed": value})
    return found


def test_the_ratio_is_of_the_medians_and_its_spread_of_the_pairs() -> None:
    target = Target("fast", "speed", of="ours", to="theirs", at_least=0.3)
    row = judge(target, samples(ours=[10, 50, 20], theirs=[100, 100, 80]), {})
    assert row == Row("fast", ">= 0.3 x", "0.200 x", "0.100 to 0.500", is_met=False, value=0.2)


@pytest.mark.parametrize(("value", "is_met"), [(4.0, True), (5.0, True), (5.1, False)])
def test_a_figure_at_its_bound_meets_it(value: float, is_met: bool) -> None:
    row = judge(Target("soon", "speed", of="ours", at_most=5, unit="ms"), samples(ours=[value]), {})
    assert (row.wanted, row.is_met, row.spread) == ("<= 5 ms", is_met, "")


def test_the_best_of_several_is_the_measure_and_is_named() -> None:
    target = Target("soon", "speed", of="ours", to=("slow", "quick", "absent"), at_most=1)
    row = judge(target, samples(ours=[3], slow=[9], quick=[2]), {"absent": "absent is not installed"})
    assert (row.result, row.is_met) == ("1.50 x quick, without absent", False)


def test_a_peer_that_is_not_there_is_not_a_target_that_is_met() -> None:
    target = Target("fast", "speed", of="ours", to="theirs", at_least=1)
    row = judge(target, samples(ours=[1]), {"theirs": "theirs is not installed: bench/setup"})
    assert (row.result, row.is_met) == ("theirs is not installed: bench/setup", None)


def found(work: str, figure: str, value: float, result: str) -> Finding:
    rows = [Row("the row", ">= 2", result, is_met=False)]
    return Finding(
        work, f"the work {work}", "full", "2026-01-02T03:04:05+00:00", rows, {"Outlast": [{figure: value}]}, {}, 4.25
    )


def test_what_is_written_replaces_the_figures_of_the_same_work_alone(tmp_path: Path) -> None:
    where = tmp_path / "performance.md"
    where.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\n## Findings\n\nours <b>\n")
    throughput = found("throughput-python", "requests_per_s", 100, "first")
    page.write(Measured.of(MACHINE, [found("idle", "percent", 1, "kept"), throughput]), where)
    page.write(Measured.of(MACHINE, [found("throughput-python", "requests_per_s", 100, "second")]), where)

    text = where.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\n## Findings\n\nours <b>\n")
    assert "old" not in text
    assert "first" not in text
    assert "| **the work idle** | | | 2026-01-02, full, 4.2 % stolen | |" in text
    assert text.index("| second | | **short** |".replace("| |", "|  |")) < text.index("kept")
    assert json.loads(where.with_suffix(".json").read_text()).keys() == {"throughput-python", "idle"}
    bars = ElementTree.parse(where.with_suffix(".svg")).findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    where = tmp_path / "performance.md"
    where.write_text("mine")
    with pytest.raises(ValueError, match="where are the lines"):
        page.write(Measured.of(MACHINE, []), where)
    assert where.read_text() == "mine"


def test_the_page_shows_the_figures_that_are_kept() -> None:
    assert page.markdown(Measured.load(page.FIGURES)) in page.PAGE.read_text()
