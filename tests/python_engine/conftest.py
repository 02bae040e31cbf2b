"""A zygote whose workers run a test's own code, and functions that never come near a node."""

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import pytest_asyncio
from tests.python_engine import wheels
from tests.python_engine.builder import Builder

from outlast.config.settings import FunctionSettings
from outlast.core.language import Language
from outlast.engines.processes import Command, Process, Spawner
from outlast.engines.python import libraries
from outlast.engines.python.start import Start

PATIENCE_S = 20
STUB = Path(__file__).with_name("stub_guest.py")
WITH_STUB = """
import importlib.util, sys
sys.path += [entry for entry in sys.argv[2:] if entry not in sys.path]
spec = importlib.util.spec_from_file_location("outlast.engines.python.guest", sys.argv[1])
import outlast.engines.python as package
package.guest = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package.guest)
from outlast.engines.python.zygote import main
main()
"""


class Zygote:
    """The real one, but for the guest: a worker runs the program of a test and is gone."""

    def __init__(self) -> None:
        self.spawner = Spawner((sys.executable, "-I", "-X", "utf8", "-c", WITH_STUB, str(STUB), *libraries.folders()))

    async def start(self, folder: Path, program: str, env: Mapping[str, str] | None = None, **start: Any) -> Process:
        _write(folder / "run.py", program)
        what = Start(
            folder=str(folder),
            script="/f/main.py",
            code=[],
            shared=[],
            environment=None,
            layers=[],
            memory_mb=0,
            keeps=False,
        )
        what.update(start)  # type: ignore[typeddict-item]
        return await self.spawner.spawn(Command((), env or {}, folder, fork={**what}))

    async def ask(self, folder: Path, program: str, env: Mapping[str, str] | None = None, **start: Any) -> Any:
        """What a worker that runs ``program`` prints as JSON."""
        process = await self.start(folder, program, env, **start)
        out, err = await asyncio.gather(read_all(process.stdout), read_all(process.stderr))
        end = await process.exited
        assert (end.code, err) == (0, ""), err
        return json.loads(out)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


async def read_all(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as pipe:
        return (await asyncio.to_thread(pipe.read)).decode()


async def read_line(descriptor: int) -> str:
    """The pipe stays open."""
    with os.fdopen(os.dup(descriptor), "rb", 0) as pipe:
        return (await asyncio.to_thread(pipe.readline)).decode().strip()


async def over(pid: int) -> None:
    """Until a process that is not ours has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def zygote() -> AsyncIterator[Zygote]:
    zygote = Zygote()
    yield zygote
    await zygote.spawner.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner()
    yield spawner
    await spawner.close()


@pytest.fixture
def builder(tmp_path: Path, spawner: Spawner) -> Builder:
    builder = Builder(tmp_path, spawner)
    for version in ("1.0", "1.1", "2.0"):
        wheels.add(builder.wheels, "alpha", version)
    wheels.add(builder.wheels, "beta", "1.0", requires=["alpha<2"])
    return builder


@pytest.fixture
def function(tmp_path: Path) -> Callable[..., FunctionSettings]:
    """Makes a function of these files; ``main.py`` is always there."""

    def make(files: Mapping[str, str] | None = None, name: str = "hello", **more: Any) -> FunctionSettings:
        folder = tmp_path / "functions" / name
        for path, text in {"main.py": "", **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        settings = FunctionSettings(
            name=name,
            folder=folder,
            entrypoint=folder / "main.py",
            language=Language.PYTHON,
            verify_jwt=False,
            env=MappingProxyType({}),
        )
        return dataclasses.replace(settings, **more)

    return make


def script(*dependencies: str, python: str = "", more: str = "") -> str:
    """A main.py with a block of PEP 723."""
    lines = [f"requires-python = {python!r}"] if python else []
    lines.append(f"dependencies = {list(dependencies)!r}")
    lines += more.splitlines()
    return "# /// script\n" + "".join(f"# {line}\n" for line in lines) + "# ///\n"
