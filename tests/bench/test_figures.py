"""Each of the other measurements, as short as it can be: that it runs, and that there are figures in the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.bench.running import bench


def figures(tmp_path: Path, module: str, *arguments: str) -> Any:
    done = bench(*arguments, f"--json={tmp_path / 'figures.json'}", module=module)
    # 1: so short a measurement may well miss what is wanted.
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found.pop("machine")["cpus"] > 0
    return found


def test_expiries(tmp_path: Path) -> None:
    found = figures(tmp_path, "bench.expiries", "ageing-python", "--seconds=3")["functions"]
    assert found.keys() == {"ageing-python"}
    assert found["ageing-python"]["expiries"] > 0
    assert found["ageing-python"]["ratio"] > 0


def test_background(tmp_path: Path) -> None:
    found = figures(tmp_path, "bench.background", "--rounds=1", "--seconds=0.5", "--warm-up=0.2")["rounds"]
    assert found.keys() == {"outlast, TypeScript", "Deno.serve", "outlast, Python", "uvicorn"}
    assert all(0 < one["p50_ms"] <= one["p99_ms"] for [one] in found.values())


def test_metering(tmp_path: Path) -> None:
    found = figures(tmp_path, "bench.metering", "--workers=2", "--seconds=0.2", "--settling=0")["cpu_share"]
    assert found.keys() == {"no worker", "2 idle workers", "2 workers with a task"}
    assert all(share >= 0 for share in found.values())


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_recording(tmp_path: Path) -> None:
    found = figures(tmp_path, "bench.recording", "TypeScript", "--rounds=1", "--seconds=1")["languages"]
    assert found.keys() == {"TypeScript"}
    assert found["TypeScript"]["records"] > 0
    assert found["TypeScript"]["ratio"] > 0
