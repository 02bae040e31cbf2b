"""Modules in a folder that its workers may enter, but not list."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlast.engines.python.unlisted import UnlistedFinder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    finder = UnlistedFinder([str(tmp_path / "not there"), str(tmp_path)])
    known = {*sys.modules}
    sys.meta_path.append(finder)
    yield tmp_path
    sys.meta_path.remove(finder)
    for name in {*sys.modules} - known:
        del sys.modules[name]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_folder_without_init(folder: Path) -> None:
    write(folder / "_unlisted_a/words.py", "WORD = 'a'")
    assert importlib.import_module("_unlisted_a.words").WORD == "a"


def test_a_package(folder: Path) -> None:
    write(folder / "_unlisted_b/__init__.py", "from . import words")
    write(folder / "_unlisted_b/words.py", "WORD = 'b'")
    assert importlib.import_module("_unlisted_b").words.WORD == "b"


def test_a_file(folder: Path) -> None:
    write(folder / "_unlisted_c.py", "WORD = 'c'")
    assert importlib.import_module("_unlisted_c").WORD == "c"


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("_unlisted_d")


def test_what_python_finds_itself_comes_first(folder: Path) -> None:
    write(folder / "colorsys.py", "WORD = 'ours'")
    assert not hasattr(importlib.import_module("colorsys"), "WORD")
