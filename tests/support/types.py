"""mypy, on code as users write it."""

import subprocess
import sys
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".outlast" / "test-mypy"
"""Shared by all tests and kept, so that what such code imports is checked once, and again when it changes."""


def strictly_checked(folder: Path, *what: str) -> str:
    """What it says of these, in the folder."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(_CACHE), *what]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
