"""Another Python than the one that runs the tests."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path


def other_python() -> tuple[str, str] | None:
    """The latest minor version that this machine has besides this one: its number, and the folder of its program."""
    for minor in range(sys.version_info.minor + 3, sys.version_info.minor, -1):
        name = f"python3.{minor}"
        found = [*Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/{name}"), shutil.which(name)]
        for program in filter(None, found):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                subprocess.run([program, "-c", "import venv"], check=True, capture_output=True)
                return f"3.{minor}", str(Path(program).parent)
    return None


OTHER = other_python()
