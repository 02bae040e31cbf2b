from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the file of a function called ``hello`` and returns its path."""

    def make(source: str) -> Path:
        folder = tmp_path / "hello"
        folder.mkdir(exist_ok=True)
        (folder / "index.ts").write_text(source)
        return folder / "index.ts"

    return make
