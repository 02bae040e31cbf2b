"""What the worker of a Python function may touch."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.engines.python import libraries
from outlast.engines.python.build import Environment
from outlast.engines.python.uv import UV, Builds
from outlast.engines.reach import Bounds
from outlast.sandbox import system
from outlast.sandbox.walls import MOUNTS, Walls

_LOCAL_PATHS = ("UV_FIND_LINKS", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT")
_OUR_PYTHON = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)


def around(
    function: FunctionSettings,
    *,
    bounds: Bounds,
    folder: Path,
    environment: Environment | None,
    rlimits: Mapping[str, int],
) -> Walls:
    """For one worker.

    Args:
        folder: the worker's own.
        rlimits: as in `Walls`.
    """
    pythons = [*_OUR_PYTHON, *libraries.folders()]
    if environment is not None:
        pythons += [environment.folder, str(environment.python.resolve().parents[1])]
    return Walls(
        layers=bounds.layers,
        files=[*system.facts(), *map(str, bounds.elsewhere)],
        read=[*system.more_facts(), *system.named(function.env)],
        run=[*system.programs(), *dict.fromkeys(pythons), *map(str, bounds.own)],
        change=[str(folder / "tmp")],
        devices=system.DEVICES,
        sockets=[str(folder)],
        rlimits=rlimits,
    )


def while_installing(
    source: Path, builds: Builds, env: Mapping[str, str], *, layers: Sequence[str], functions_dir: Path
) -> Walls:
    """For uv while it finds and installs packages, whose code runs if they have to be built.

    Args:
        source: the folder with the requirements, in which local packages are built.
        env: uv's environment; names its cache.
    """
    home = Path(env.get("HOME", "/nonexistent"))
    named = system.named(env, "UV_CONFIG_FILE", "NETRC")
    named += [path.removeprefix("file://") for name in _LOCAL_PATHS for path in env.get(name, "").split()]
    settings = [home / ".config/uv", home / ".gitconfig", home / ".config/git/config", Path("/etc/uv")]
    included = functions_dir.glob("*requirements*.txt")
    # uv looks for settings upwards, and does not go on without what it has found.
    above = [folder / name for folder in (source, *source.parents) for name in ("uv.toml", "pyproject.toml")]
    python = builds.interpreter.resolve().parents[1]
    return Walls(
        layers=[layer for layer in layers if layer != MOUNTS],
        files=[*system.facts(), *map(str, included), *(str(path) for path in above if path.is_file())],
        read=[*system.more_facts(), str(functions_dir / "_shared"), *map(str, settings), *named],
        run=[*system.programs(), UV, *dict.fromkeys((*_OUR_PYTHON, str(python)))],
        # What a build leaves beside a local package is in the function's own folder, which may do so if it is one.
        change=[str(builds.scratch), env["UV_CACHE_DIR"], *([str(source)] if source != functions_dir else [])],
        devices=system.DEVICES,
        sealed=True,
    )
