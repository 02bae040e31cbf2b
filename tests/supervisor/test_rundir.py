"""The folder for the workers' sockets: private, short, and never left behind for long."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from outlast.supervisor import rundir


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A system's temporary folder of the test's own."""
    with tempfile.TemporaryDirectory(prefix="o") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_it_is_private_and_removed_at_the_end(temporary: Path) -> None:
    with rundir.run_dir() as folder:
        assert folder.parent == temporary
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "worker").mkdir()
        (folder / "worker/control.sock").write_text("")
    assert not any(temporary.iterdir())


def test_it_is_removed_after_a_failure_too(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), rundir.run_dir():
        raise ZeroDivisionError
    assert not any(temporary.iterdir())


def test_nodes_that_run_do_not_disturb_each_other() -> None:
    with rundir.run_dir() as first, rundir.run_dir() as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()


def test_what_a_killed_node_has_left_is_removed_by_the_next(temporary: Path) -> None:
    left = temporary / f"{rundir.PREFIX}left"
    (left / "worker/tmp").mkdir(parents=True)
    with rundir.run_dir():
        assert not left.exists()


def test_folders_of_others_are_let_be(temporary: Path) -> None:
    others = [temporary / name for name in ("outlast-else", "other")]
    for folder in others:
        folder.mkdir()
    (temporary / f"{rundir.PREFIX}file").write_text("no folder")
    linked = temporary / f"{rundir.PREFIX}link"
    linked.symlink_to(others[0])
    (others[0] / "precious").write_text("")
    with rundir.run_dir():
        pass
    assert (others[0] / "precious").exists()
    assert others[1].exists()


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (fcntl, "flock")])
def test_one_that_is_taken_away_before_it_is_locked_is_made_again(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """Another node that starts at that moment takes it for abandoned."""
    made: list[Path] = []
    make, call = tempfile.mkdtemp, getattr(module, name)

    def noted(**options: str) -> str:
        folder = make(**options)
        made.append(Path(folder))
        return folder

    def late(*arguments: object, **options: object) -> object:
        if len(made) == 1 and made[0].exists():
            made[0].rmdir()
        return call(*arguments, **options)

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    monkeypatch.setattr(module, name, late)
    with rundir.run_dir() as folder:
        assert folder.is_dir()
        assert made == [made[0], folder]


def test_a_socket_in_it_has_a_short_path_even_if_the_temporary_folder_has_a_long_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = temporary / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with rundir.run_dir() as folder:
        assert len(os.fsencode(folder / "0123456789ab" / "control.sock")) < 104
