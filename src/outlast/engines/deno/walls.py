"""What the worker of a TypeScript function may touch, Deno's own permissions aside."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.engines.deno.prepare import Prepared
from outlast.engines.deno.shipped import DENO, GUEST, loader
from outlast.engines.reach import Bounds
from outlast.sandbox import system
from outlast.sandbox.walls import MOUNTS, Walls
from outlast.wire import notes


def around(
    prepared: Prepared,
    *,
    bounds: Bounds,
    folder: Path,
    state: Path,
    hidden_env: Mapping[str, str],
    rlimits: Mapping[str, int],
) -> Walls:
    """For one worker.

    Args:
        folder: the worker's own.
        state: the folder with what was made for the function.
        rlimits: as in `Walls`.
    """
    function = prepared.function
    readable = [*bounds.own, state, *_configured(function)]
    named = system.named({**hidden_env, **function.env}, "DENO_DIR", "DENO_CERT")
    return Walls(
        layers=bounds.layers,
        files=[*system.facts(), *map(str, bounds.elsewhere)],
        read=[*system.libraries(), *system.more_facts(), str(GUEST), *map(str, readable), *named],
        run=[DENO, *loader()],
        change=[str(folder / "tmp"), str(folder / notes.FILE)],
        devices=system.DEVICES,
        sockets=[str(folder)],
        listen_on=[] if function.inspector is None else [function.inspector.port],
        rlimits=rlimits,
    )


def while_preparing(
    function: FunctionSettings, *, layers: Sequence[str], root: Path, state: Path, env: Mapping[str, str]
) -> Walls:
    """For Deno itself while it fetches what a function imports. No scripts of packages run.

    Makes the folders that Deno fills: only what is there can be permitted.

    Args:
        root: where the function may import from.
        state: the folder for what is made for the function.
    """
    cache = Path(env["DENO_DIR"])
    named = system.named(env, "DENO_CERT")
    home = Path(env.get("HOME", "/nonexistent"))
    folders = [cache, state, *_packages_beside(function)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    own = [root, function.folder, function.entrypoint, *function.static_files, *_configured(function), home / ".npmrc"]
    return Walls(
        layers=[layer for layer in layers if layer != MOUNTS],
        files=system.facts(),
        read=[*system.libraries(), *system.more_facts(), str(GUEST), *map(str, own), *named],
        run=[DENO, *loader()],
        change=[*map(str, folders)],
        devices=system.DEVICES,
        sealed=True,
    )


def _configured(function: FunctionSettings) -> list[Path]:
    configs = [path for path in (function.deno_config, function.import_map) if path is not None]
    return [*configs, *(path.parent / name for path in configs for name in ("node_modules", "package.json"))]


def _packages_beside(function: FunctionSettings) -> list[Path]:
    """Folders that Deno fills beside its configuration file, if that says so."""
    if function.deno_config is None:
        return []
    with contextlib.suppress(OSError):
        config = function.deno_config.read_text("utf-8", "replace")
        wanted = {"nodeModulesDir": ["node_modules"], "vendor": ["vendor", "node_modules"]}
        here = [name for option, names in wanted.items() if f'"{option}"' in config for name in names]
        return [function.deno_config.parent / name for name in here]
    return []
