"""Runs a measurement as its user does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.node import DENO_DIR

REPOSITORY = Path(__file__).parents[2]


def bench(*arguments: str, module: str = "bench", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DENO_DIR": str(DENO_DIR), **env},
        capture_output=True,
        text=True,
    )
