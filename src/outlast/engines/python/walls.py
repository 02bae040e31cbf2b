"""What the worker of a Python function may touch."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.engines.python import libraries
from outlast.engines.python.environments import Environment
from outlast.sandbox import system
from outlast.sandbox.walls import Walls


def around(
    function: FunctionSettings,
    *,
    layers: Sequence[str],
    folder: Path,
    code: Sequence[Path],
    modules: Iterable[Path],
    shared_dir: Path,
    environment: Environment | None,
    rlimits: Mapping[str, int],
) -> Walls:
    """For one worker.

    Args:
        folder: the worker's own.
        code: the function's folders.
        modules: the files that it imports.
        rlimits: as in `Walls`, besides those for all.
    """
    own = [*code, shared_dir, *function.static_files]
    elsewhere = [path for path in sorted(modules) if not any(parent in path.parents for parent in own)]
    named = [function.env[name] for name in system.CERTIFICATE_VARIABLES if name in function.env]
    pythons = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *libraries.folders()]
    if environment is not None:
        pythons += [environment.folder, str(environment.python.resolve().parents[1])]
    return Walls(
        layers=layers,
        files=[*system.facts(), *map(str, elsewhere)],
        read=[*system.more_facts(), *named],
        run=[*system.programs(), *dict.fromkeys(pythons), *map(str, own)],
        change=[str(folder / "tmp")],
        devices=system.DEVICES,
        sockets=[str(folder)],
        rlimits={**system.RLIMITS, **rlimits},
    )
