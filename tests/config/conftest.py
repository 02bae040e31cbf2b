"""A project on disk that a test fills with files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outlast.config.settings import ConfigError, Project, load

SERVE = "Deno.serve(() => new Response('ok'))\n"


class Folder:
    """A folder; ``load`` and ``error`` read its settings, with an empty environment unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def load(self, target: str = ".", *, environ: Mapping[str, str] | None = None, **options: Any) -> Project:
        return load(self.root / target, environ=environ or {}, **options)

    def error(self, target: str = ".", *, environ: Mapping[str, str] | None = None, **options: Any) -> str:
        """The text of the error that ``load`` ends with; paths below the folder lose its name."""
        with pytest.raises(ConfigError) as caught:
            self.load(target, environ=environ, **options)
        return str(caught.value).replace(f"{self.root}/", "").replace(str(self.root), "DIR")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder."""
    return Folder(tmp_path)


@pytest.fixture
def project(folder: Folder) -> Folder:
    """A folder with one function, ``hello``."""
    folder.write({"supabase/functions/hello/index.ts": SERVE})
    return folder
