"""Environments that nobody uses any more, between nodes that share them."""

import os
import time
from pathlib import Path

import pytest
from tests.python_engine.builder import Builder
from tests.python_engine.conftest import script
from tests.python_engine.test_environments import Make
from tests.support.node import serving, write_project

from outlast.engines.python import environments as module
from outlast.engines.python.leases import Leases

LONG_S = 1_000.0


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    for name in ("one", "two", ".building-three"):
        (tmp_path / "envs" / name / "lib").mkdir(parents=True)
        make_old(tmp_path / "envs" / name)
    return tmp_path / "envs"


def make_old(folder: Path, by_s: float = LONG_S + 1) -> None:
    os.utime(folder, (time.time() - by_s,) * 2)


def opened(envs: Path) -> Leases:
    return Leases(envs, ".building-")


def test_what_nobody_uses_is_removed(envs: Path) -> None:
    (envs / "used lately").mkdir()
    assert opened(envs).remove_unused(LONG_S) == [envs / "one", envs / "two"]
    assert {path.name for path in envs.iterdir()} == {".building-three", "used lately"}


def test_what_any_node_uses_stays_whenever_it_took_it(envs: Path) -> None:
    mine, theirs = opened(envs), opened(envs)
    assert mine.take("one")
    assert theirs.take("one")
    make_old(envs / "one")
    assert theirs.remove_unused(LONG_S) == [envs / "two"]
    theirs.keep(())
    make_old(envs / "one")
    assert theirs.remove_unused(LONG_S) == []
    mine.keep(())
    assert theirs.remove_unused(LONG_S) == [], "it was used a moment ago"
    make_old(envs / "one")
    assert theirs.remove_unused(LONG_S) == [envs / "one"]


def test_one_that_comes_back_is_taken_anew(envs: Path) -> None:
    """As whoever wants newer versions removes them by hand."""
    mine = opened(envs)
    assert mine.take("one")
    (envs / "one").rename(envs / "elsewhere")
    assert not mine.take("one")
    (envs / "one").mkdir()
    assert mine.take("one")
    make_old(envs / "one")
    assert opened(envs).remove_unused(LONG_S) == [envs / "two"]


def test_there_may_be_none(tmp_path: Path) -> None:
    leases = opened(tmp_path / "none")
    assert not leases.take("one")
    assert leases.remove_unused(LONG_S) == []


async def test_what_a_function_asked_for_before_is_not_used_any_more(
    builder: Builder, function: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNUSED_S", LONG_S)
    environments = builder.open()
    before = Path((await builder.provide(function({"main.py": script("alpha<2")}), environments)).folder)
    make_old(before)
    assert await environments.remove_unused() == [], "the function has it"
    now = Path((await builder.provide(function({"main.py": script("alpha")}), environments)).folder)
    for folder in (before, now):
        make_old(folder)
    assert await environments.remove_unused() == [], "it had it until now"
    for folder in (before, now):
        make_old(folder)
    assert await environments.remove_unused() == [before]
    await environments.close()


async def test_a_node_says_what_it_removes(tmp_path: Path) -> None:
    old = tmp_path / ".outlast/envs/0123456789abcdef"
    old.mkdir(parents=True)
    make_old(old, by_s=31 * 86_400)
    project = write_project(tmp_path, {"hello/main.py": "async def app(scope, receive, send): ..."})
    async with serving(project, "--log-level=debug") as node:
        await node.wait_for("prepare", level="debug", msg=lambda text: text.startswith(f"{old}: removed, "))
    assert not old.exists()
