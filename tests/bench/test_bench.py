"""`python -m bench`: that all of it runs, not what it measures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.table import WORKS
from tests.support.node import DENO_DIR

REPOSITORY = Path(__file__).parents[2]


def bench(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DENO_DIR": str(DENO_DIR), **env},
        capture_output=True,
        text=True,
    )


# It lasts half of the usual limit by itself, and tests run side by side.
@pytest.mark.timeout(180)
def test_a_smoke_run_does_every_work_with_the_peers_that_are_there(tmp_path: Path) -> None:
    done = bench("--smoke", f"--json={tmp_path / 'figures.json'}", BENCH_PEERS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found.keys() == WORKS.keys()
    for work in found.values():
        assert work["rounds"], work["work"]
        assert all(len(rounds) == 1 for rounds in work["rounds"].values())
    for name, rival in (("throughput-typescript", "Deno.serve"), ("throughput-python", "bare ASGI, uvicorn")):
        rounds = found[name]["rounds"]
        assert all(rounds[entrant][0]["requests_per_s"] > 0 for entrant in ("Outlast", rival))
    assert found["throughput-typescript"]["missing"] == {
        "workerd": "workerd is not installed: bench/setup",
        "edge-runtime": "edge-runtime is not installed: bench/setup",
    }
    [row] = [row for row in found["throughput-python"]["rows"] if row["title"] == "against functions-framework"]
    assert (row["result"], row["is_met"]) == ("functions-framework is not installed: bench/setup", None)
    # Whoever reads the table must not take these figures for any.
    assert "smoke: the figures mean nothing" in done.stdout


def test_a_work_that_is_not_there() -> None:
    done = bench("throughput", "nonsense")
    assert done.returncode == 2
    assert "there is no work nonsense; there are: throughput-typescript" in done.stderr


def test_the_figures_of_a_smoke_run_are_not_written_into_the_docs() -> None:
    done = bench("--smoke", "--write")
    assert done.returncode == 2
    assert "the figures of --smoke mean nothing" in done.stderr
