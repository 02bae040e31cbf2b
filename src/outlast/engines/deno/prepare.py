"""Prepares a TypeScript function: its import map, its dependencies, and the compiled code of what it imports.

Everything that Outlast writes for a function goes into one folder of the project's state, never into the user's own:
the merged import map, and a copy of the user's lock file, which Deno may update.
"""

import contextlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from outlast.config.files import resolved
from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.engines.deno import import_map, jsonc, npmrc
from outlast.engines.deno.package_json import PackageJson
from outlast.engines.deno.shipped import DENO, GUEST, PLAIN
from outlast.engines.processes import MAX_REPORT, Command, Run

BOOTSTRAP = GUEST / "bootstrap.ts"
STOP = GUEST / "stop.ts"

NPMRC = ".npmrc"
KEPT = ("compilerOptions", "unstable")
"""What counts of a deno.json in whose place another one stands, besides the names that it gives to imports."""
RESOLVING = {"DENO_NO_PACKAGE_JSON": "1"}
"""For Deno's environment: what a package.json lists is in the import map."""

_WORKERS = re.compile(rb"\bWorker\s*\(|\bworker_threads\b")
_NODE_FILES = re.compile(r"(npm|jsr|https?):|(node:)?(fs(/promises)?|module)$")
_ADVICE = ("run with --sloppy-imports", 'have "unstable": ["sloppy-imports"] in its deno.json')
"""Deno's own, for an import without an extension, and what does the same here, where nobody gives Deno options."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PrepareError(OutlastError):
    """A function cannot be run; most often, the text is what Deno said about it."""


@dataclass(frozen=True)
class Prepared:
    """A function whose dependencies are in the cache."""

    function: FunctionSettings
    flags: tuple[str, ...]
    """Where Deno finds what the function imports; the same for fetching and for running."""
    modules: frozenset[Path]
    """The local files that it is made of, links resolved."""
    uses_workers: bool
    """Whether its code mentions Web Workers, or those of Node.js."""
    uses_node_files: bool
    """Whether it imports the file functions of Node.js, or what others have published, which may."""
    registry_variables: frozenset[str]
    """Variables that its .npmrc wants for registries, also while it runs."""
    of_workspace: frozenset[Path]
    """Other files that say what it imports, which no worker reads; links resolved."""


async def prepare(
    function: FunctionSettings, *, workspace: Path | None, folder: Path, env: Mapping[str, str], run: Run
) -> Prepared:
    """Fetches what ``function`` imports. Raises `PrepareError`.

    Args:
        workspace: the file of the workspace that it belongs to.
        folder: where to write the files made for this function.
        env: the environment to run Deno in; names the cache (``DENO_DIR``).
        run: runs a program to its end.
    """

    async def deno(*arguments: str) -> bytes:
        # A backtrace would be Deno's own, and say nothing about the function.
        told = {name: value for name, value in env.items() if name not in ("RUST_BACKTRACE", "RUST_LIB_BACKTRACE")}
        told |= {**PLAIN, **RESOLVING}
        result = await run(Command([DENO, *arguments], told, function.folder))
        if result.code:
            report = _ANSI.sub("", result.err.decode("utf-8", "replace"))[:MAX_REPORT].strip()
            # Its author knows nothing of the copy.
            raise PrepareError(report.replace(str(folder / NPMRC), str(function.npmrc)).replace(*_ADVICE))
        return result.out

    package_json, npm_settings = PackageJson.of(function), _npmrc(function)
    merged = partial(import_map.merged, function, workspace, package_json)
    options = _options(function, folder, package_json, npm_settings)
    info = partial(deno, "info", "--json", "--no-lock", *options)
    modules = await _local_modules(function, _write(folder / "own_import_map.json", _json(merged({}))), info)
    imported = dict(_import(dependency) for module in modules for dependency in module.get("dependencies", ()))
    map_file = _write(folder / "import_map.json", _json(merged(imported)))
    lock_file = _lock_file(function, workspace, folder, npm_settings, env)
    flags = (*options, f"--import-map={map_file}", f"--lock={lock_file}")
    try:
        await deno("cache", "--quiet", *flags, str(BOOTSTRAP), str(function.entrypoint))
    except PrepareError as error:
        hints = package_json.hints(imported) if package_json is not None else []
        raise PrepareError("\n".join([str(error), *hints])) from error
    await _compile(function, folder, partial(deno, "run", "--quiet", "--no-prompt", *flags))
    code = frozenset(resolved(Path(module["local"])) for module in modules)
    return Prepared(
        function,
        flags,
        modules=code.union(map(resolved, import_map.files(function))),
        uses_workers=any(map(_speaks_of_workers, code)),
        uses_node_files=any(map(_NODE_FILES.match, imported.values())),
        registry_variables=npmrc.variables(npm_settings),
        of_workspace=frozenset() if workspace is None else frozenset(map(resolved, import_map.named_by(workspace))),
    )


async def _local_modules(
    function: FunctionSettings, own_map: Path, info: Callable[..., Awaitable[bytes]]
) -> list[dict[str, Any]]:
    """What Deno knows about the function's own files, before it has fetched anything."""
    graph = json.loads(await info("--no-remote", "--no-npm", f"--import-map={own_map}", str(function.entrypoint)))
    return [module for module in graph["modules"] if module["specifier"].startswith("file:") and "local" in module]


async def _compile(function: FunctionSettings, folder: Path, start: Callable[..., Awaitable[bytes]]) -> None:
    """Has Deno cache V8's code of the function's modules, which workers cannot. None of them is evaluated."""
    imports = [f"import {json.dumps(module.as_uri())};\n" for module in (STOP, function.entrypoint)]
    program = _write(folder / "compile.js", "".join(imports).encode())
    # This always ends with an error.
    with contextlib.suppress(PrepareError):
        await start(str(program))


def _speaks_of_workers(file: Path) -> bool:
    try:
        return _WORKERS.search(file.read_bytes()) is not None
    except OSError:
        # It was removed in the meantime: another preparation follows.
        return False


def _import(dependency: dict[str, Any]) -> tuple[str, str]:
    """The name that the code imports, and what it resolves to as far as Deno can tell."""
    name = dependency["specifier"]
    found = dependency.get("code") or dependency.get("type") or {}
    return name, found.get("specifier", name)


def _options(
    function: FunctionSettings, folder: Path, package_json: PackageJson | None, npm_settings: bytes
) -> list[str]:
    """What Deno is told of the function's own settings."""
    is_common_js = package_json is not None and package_json.is_common_js
    # Without the package.json itself, Deno would look for no CommonJS.
    return [_config(function, folder, npm_settings), *(["--unstable-detect-cjs"] if is_common_js else [])]


def _config(function: FunctionSettings, folder: Path, npm_settings: bytes) -> str:
    config, npmrc_file = function.deno_config, function.npmrc
    # Deno reads the .npmrc beside its configuration.
    if config is not None and (npmrc_file is None or npmrc_file.parent == config.parent):
        return f"--config={config}"
    if npmrc_file is None:
        return "--no-config"
    _write(folder / NPMRC, npm_settings)
    of_all = {} if config is None else jsonc.read(config)
    kept = {name: of_all[name] for name in KEPT if name in of_all}
    # The workspace keeps it from looking for another one further up.
    return f"--config={_write(folder / 'deno.json', _json({'workspace': [], **kept}))}"


def _lock_file(
    function: FunctionSettings, workspace: Path | None, folder: Path, npm_settings: bytes, env: Mapping[str, str]
) -> Path:
    """A copy of the user's, which Deno may update. It takes none that names other registries than it is to use now."""
    given = [f"{name}={env[name]}" for name in ("NPM_CONFIG_REGISTRY", "JSR_URL") if env.get(name)]
    registries = "\n".join([*npmrc.registries(npm_settings, env), *given])
    lock_file = folder / (f"deno-{zlib.crc32(os.fsencode(registries)):08x}.lock" if registries else "deno.lock")
    configs = [file for file in (function.deno_config, workspace) if file is not None]
    for place in (function.folder, *(file.parent for file in configs)):
        with contextlib.suppress(FileNotFoundError):
            _write(lock_file, (place / "deno.lock").read_bytes())
            break
    return lock_file


def _npmrc(function: FunctionSettings) -> bytes:
    """Empty where there is none."""
    if function.npmrc is None:
        return b""
    try:
        return function.npmrc.read_bytes()
    except OSError as error:
        raise PrepareError(f"{function.npmrc}: cannot be read: {error.strerror}") from error


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def _write(file: Path, content: bytes) -> Path:
    """Replaces a file atomically, since workers may be reading it; leaves it alone if nothing changes."""
    with contextlib.suppress(OSError):
        if file.read_bytes() == content:
            return file
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as beside:
        beside.write(content)
    return Path(beside.name).replace(file)
