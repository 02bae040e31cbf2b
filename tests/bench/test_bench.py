"""`python -m bench`: that it runs, not what it measures."""

import json
import re
import shutil
from pathlib import Path

import pytest
from bench.comparison import Comparison
from bench.load import Load
from tests.bench.running import bench


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_smoke_run_measures_both_sides(tmp_path: Path) -> None:
    done = bench("typescript-warm", "--smoke", f"--json={tmp_path / 'figures.json'}")
    assert (done.returncode, done.stderr) == (0, "")
    line = json.loads((tmp_path / "figures.json").read_text())["lines"]["typescript-warm"]
    for side in ("outlast", "peer"):
        assert len(line[side]["rounds"]) == 1
        assert line[side]["requests_per_s"] > 0


def test_the_cold_start_of_python_is_measured_beside_uvicorn() -> None:
    done = bench("--rounds=1", module="bench.cold_start")
    assert done.stderr == ""
    figures = re.fullmatch(
        r"first byte: outlast ([\d.]+) ms .*, uvicorn as a process ([\d.]+) ms .*\n"
        r"  ratio ([\d.]+), .*\n"
        r"private memory of an idle worker: ([\d.]+) MB, .*\n",
        done.stdout,
    )
    assert figures is not None, done.stdout
    assert all(float(figure) > 0 for figure in figures.groups())


def test_without_wrk_it_says_what_to_install() -> None:
    done = bench("--smoke", PATH="/nonexistent")
    assert (done.returncode, done.stderr) == (
        2,
        "bench: wrk makes the load, and is not installed: apt install wrk\n",
    )


def test_a_line_that_is_not_there() -> None:
    done = bench("nonsense")
    assert done.returncode == 2
    assert "there is no line nonsense; there are: typescript-warm" in done.stderr


def test_the_ratio_is_of_the_medians_and_its_spread_of_the_pairs() -> None:
    def rounds(*requests_per_s: float) -> tuple[Load, ...]:
        return tuple(Load(value, p50_ms=1, p99_ms=2) for value in requests_per_s)

    found = Comparison(ours=rounds(10, 50, 20), theirs=rounds(100, 100, 80)).as_json()
    assert (found["ratio"], found["ratio_lowest"], found["ratio_highest"]) == (0.2, 0.1, 0.5)
