"""Environments as uv builds them, from packages made on the spot: no registry is asked."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_engine import wheels
from tests.python_engine.builder import Builder
from tests.python_engine.conftest import script
from tests.python_engine.pythons import OTHER

from outlast.config.settings import FunctionSettings
from outlast.engines.python.build import Environment, EnvironmentFailed
from outlast.engines.python.environments import OURS
from outlast.engines.python.requirements import read
from outlast.engines.python.uv import UV

Make = Callable[..., FunctionSettings]


def version_of(environment: Environment, module: str) -> str:
    """As the interpreter of the environment sees it."""
    program = f"import {module}; print({module}.VERSION)"
    return subprocess.check_output([environment.python, "-I", "-c", program], text=True).strip()


async def test_what_is_asked_for_is_there(builder: Builder, function: Make) -> None:
    environment = await builder.provide(function({"main.py": script("beta")}))
    assert environment.packages == {"alpha": "1.1", "beta": "1.0"}
    assert environment.version == OURS
    assert version_of(environment, "alpha") == "1.1"
    assert [*environment.site_packages.glob("__pycache__/alpha*.pyc")], "workers write no bytecode"
    assert builder.said == [
        ("resolving what main.py asks for", False),
        ("installing 2 packages", False),
        ("installed 2 packages", True),
    ]
    assert [path.name for path in (builder.folder / "envs").iterdir()] == [Path(environment.folder).name]


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "alpha<2\n"},
        {"requirements.txt": "-r more.txt\n", "more.txt": "alpha<2"},
        {"pyproject.toml": '[project]\nname = "x"\nversion = "1"\ndependencies = ["alpha<2"]\n'},
    ],
)
async def test_wherever_it_is_asked_for(builder: Builder, function: Make, files: dict[str, str]) -> None:
    assert (await builder.provide(function(files))).packages == {"alpha": "1.1"}


async def test_two_versions_side_by_side(builder: Builder, function: Make) -> None:
    environments = builder.open()
    one, two = await asyncio.gather(
        builder.provide(function({"main.py": script("alpha==1.0")}, "one"), environments),
        builder.provide(function({"main.py": script("alpha==2.0")}, "two"), environments),
    )
    assert (version_of(one, "alpha"), version_of(two, "alpha")) == ("1.0", "2.0")


async def test_a_second_start_asks_nobody(builder: Builder, function: Make) -> None:
    made = function({"main.py": script("alpha")})
    first = await builder.provide(made)
    shutil.rmtree(builder.wheels)
    shutil.rmtree(builder.folder / "cache")
    builder.runs.clear()
    assert await builder.provide(made, builder.open(UV_OFFLINE="1")) == first
    assert builder.runs == []


async def test_functions_that_ask_for_the_same_share_one(builder: Builder, function: Make) -> None:
    environments = builder.open()
    made = [function({"main.py": script("alpha")}, name) for name in ("one", "two", "three")]
    found = await asyncio.gather(*(builder.provide(each, environments) for each in made))
    assert len({environment.folder for environment in found}) == 1
    assert sum("install" in run for run in builder.runs) == 1


async def test_one_that_gives_up_does_not_take_the_other_with_it(builder: Builder, function: Make) -> None:
    environments = builder.open()
    made = function({"main.py": script("alpha")})
    one, two = (asyncio.ensure_future(builder.provide(made, environments)) for _ in range(2))
    await builder.began.wait()
    one.cancel()
    assert (await two).packages == {"alpha": "2.0"}
    assert one.cancelled()


async def test_closing_ends_what_is_being_built(builder: Builder, function: Make) -> None:
    environments = builder.open()
    building = asyncio.ensure_future(builder.provide(function({"main.py": script("alpha")}), environments))
    await builder.began.wait()
    await environments.close()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert [*(builder.folder / "envs").iterdir()] == []


async def test_what_cannot_be_resolved(builder: Builder, function: Make) -> None:
    environments = builder.open()
    made = function({"main.py": script("alpha==3", "beta")})
    with pytest.raises(EnvironmentFailed, match=r"alpha==3") as caught:
        await builder.provide(made, environments)
    assert str(caught.value).startswith(f"{made.entrypoint}: what it asks for cannot be installed:\n")
    assert "\x1b" not in str(caught.value)
    assert [*(builder.folder / "envs").iterdir()] == []
    # Once there is such a version, the same works.
    wheels.add(builder.wheels, "alpha", "3.0")
    assert (await builder.provide(function({"main.py": script("alpha==3")}), environments)).packages["alpha"] == "3.0"


async def test_versions_that_are_preferred_are_taken_where_they_fit(builder: Builder, function: Make) -> None:
    preferred = {"alpha": "1.0", "gamma": "9"}
    assert (await builder.provide(function({"main.py": script("alpha")}), preferred=preferred)).packages == {
        "alpha": "1.0"
    }
    pinned = function({"main.py": script("alpha>=2")})
    assert (await builder.provide(pinned, preferred=preferred)).packages == {"alpha": "2.0"}


async def test_outlast_itself_is_not_installed(builder: Builder, function: Make) -> None:
    environment = await builder.provide(function({"main.py": script("outlast>=0.1", "alpha")}))
    assert environment.packages == {"alpha": "2.0"}


async def test_a_lock_file_decides(builder: Builder, function: Make) -> None:
    made = function({"main.py": script("alpha")})
    lock = [UV, "lock", "--quiet", "--script", str(made.entrypoint), "--upgrade-package", "alpha==1.0"]
    await asyncio.to_thread(subprocess.run, lock, env=builder.env, check=True)
    assert (await builder.provide(made)).packages == {"alpha": "1.0"}


PROJECT = "[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.11'\ndependencies = ['alpha']\n"
ABSENT = "3.99"


@pytest.mark.parametrize(
    ("source", "pinned", "preference"),
    [
        ("pyproject.toml", OTHER and OTHER[0], "managed"),
        ("main.py", ABSENT, "managed"),
        ("pyproject.toml", None, "only-managed"),
    ],
)
async def test_a_lock_file_is_for_the_python_of_the_node(
    builder: Builder, function: Make, source: str, pinned: str | None, preference: str
) -> None:
    """Whatever Python its author has pinned for their own machine."""
    made = function({source: script("alpha") if source == "main.py" else PROJECT})
    which = f"--script={made.entrypoint}" if source == "main.py" else f"--project={made.folder}"
    await asyncio.to_thread(subprocess.run, [UV, "lock", "--quiet", which], env=builder.env, check=True)
    if pinned is not None:
        (made.folder / ".python-version").write_text(pinned)
    if OTHER is not None and pinned == OTHER[0]:
        builder.env["PATH"] = f"{OTHER[1]}:{builder.env['PATH']}"
    environment = await builder.provide(made, builder.open(UV_PYTHON_PREFERENCE=preference))
    assert environment.version == OURS
    assert version_of(environment, "alpha") == "2.0"
    made_with = await asyncio.to_thread(Path(environment.folder, "pyvenv.cfg").read_text)
    assert "relocatable = true" in made_with


async def test_a_python_that_is_not_there_is_refused_clearly(builder: Builder, function: Make) -> None:
    made = function({"main.py": script("alpha", python=">=3.99")})
    with pytest.raises(EnvironmentFailed) as caught:
        await builder.provide(made)
    ours = ".".join(map(str, sys.version_info[:3]))
    assert str(caught.value).startswith(f"{made.entrypoint}: requires Python >=3.99, and this is {ours}; no other ")
    assert "No interpreter found for Python >=3.11, >=3.99" in str(caught.value)


async def test_this_python_is_all_that_is_asked_for(builder: Builder, function: Make) -> None:
    made = function({"main.py": script(python=">=3.11")})
    requirements = read(made)
    assert requirements is not None
    assert await builder.open().provide(requirements, {}, lambda *_: None) is None
    assert builder.runs == []


async def test_what_a_dead_node_left_is_cleared_away(builder: Builder, function: Make) -> None:
    left = builder.folder / "envs" / ".building-left"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    await builder.provide(function({"main.py": script("alpha")}))
    assert not left.exists()


async def test_one_whose_interpreter_has_gone_is_built_again(builder: Builder, function: Make) -> None:
    made = function({"main.py": script("alpha")})
    environment = await builder.provide(made)
    environment.python.unlink()
    environment.python.symlink_to(builder.folder / "gone")
    assert await builder.provide(made) == environment
    assert version_of(environment, "alpha") == "2.0"


async def test_a_folder_that_cannot_be_written(builder: Builder, function: Make) -> None:
    (builder.folder / "envs").write_text("a file")
    with pytest.raises(EnvironmentFailed, match=r"envs.*: cannot be written: "):
        await builder.provide(function({"main.py": script("alpha")}))
