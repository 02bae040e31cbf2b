"""The worker that is made ahead: that it is like any other, and goes with its zygote."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.python_engine.conftest import STUB, WITH_STUB, Zygote, over
from tests.python_engine.test_zygote import PORTRAIT

from outlast.engines.processes import Spawner
from outlast.engines.python import libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open(2)")

TELLING = """
def telling(rehearse, path):
    def rehearse_and_tell():
        rehearse()
        with open(path, "w") as told:
            told.write(str(os.getpid()))
    return rehearse_and_tell

import os, sys
sys.path += [entry for entry in sys.argv[2:] if entry not in sys.path]
from outlast.engines.python import rehearsal
rehearsal.rehearse_alone = telling(rehearsal.rehearse_alone, {path!r})
"""
"""A spare says who it is when it has rehearsed."""


class ZygoteWithSpare(Zygote):
    def __init__(self, told: Path) -> None:
        self._told = told
        program = TELLING.format(path=str(told)) + WITH_STUB
        self.spawner = Spawner((sys.executable, "-I", "-X", "utf8", "-c", program, str(STUB), *libraries.folders()))

    async def spare(self) -> int:
        """The next one, by its process id; it waits for its order now, or is about to."""
        await self.spawner.hello()
        return int(await asyncio.to_thread(self._told.read_text))


@pytest.fixture
async def zygote(tmp_path: Path) -> AsyncIterator[ZygoteWithSpare]:
    os.mkfifo(tmp_path / "told")
    zygote = ZygoteWithSpare(tmp_path / "told")
    yield zygote
    await zygote.spawner.close()


async def portrait_of(spare: int, zygote: Zygote, folder: Path) -> dict[str, object]:
    """Of the worker that it is made into. As long as it is not waiting yet, others are made instead."""
    program = PORTRAIT.replace("print(json.dumps({", 'print(json.dumps({\n    "pid": os.getpid(),')
    while (portrait := await zygote.ask(folder, program, {"GREETING": "hällo"}))["pid"] != spare:
        pass
    return dict(portrait)


async def test_a_worker_made_of_it_is_like_any_other(zygote: ZygoteWithSpare, tmp_path: Path) -> None:
    made_ahead = await portrait_of(await zygote.spare(), zygote, tmp_path / "w")
    made_now = await zygote.ask(tmp_path / "w", PORTRAIT, {"GREETING": "hällo"})
    own = {"pid": made_ahead["pid"], "random": made_ahead["random"]}
    assert made_now["random"] != own["random"]
    assert made_ahead == {**made_now, **own}


async def test_the_next_one_is_made_when_one_is_used(zygote: ZygoteWithSpare, tmp_path: Path) -> None:
    first = await zygote.spare()
    await portrait_of(first, zygote, tmp_path / "w")
    assert await zygote.spare() != first


async def test_one_that_has_died_is_done_without(zygote: ZygoteWithSpare, tmp_path: Path) -> None:
    spare = await zygote.spare()
    os.kill(spare, signal.SIGKILL)
    await over(spare)
    assert await zygote.ask(tmp_path / "w", "import os; print(os.getpid())") != spare
    assert await zygote.spare() != spare


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_it_goes_with_its_zygote(zygote: ZygoteWithSpare, how: str) -> None:
    spare = await zygote.spare()
    if how == "closed":
        await zygote.spawner.close()
    else:
        assert zygote.spawner._child is not None
        zygote.spawner._child.kill()
    await over(spare)
