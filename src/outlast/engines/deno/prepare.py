"""Making a TypeScript function ready to run: its import map, its dependencies, what it imports.

Everything that Outlast writes for a function lies in one folder of the project's state, never in the user's own: the
merged import map, and a copy of the user's lock file, which Deno may bring up to date.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deno import find_deno_bin

from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.engines.deno import import_map

GUEST = Path(__file__).with_name("guest")
BOOTSTRAP = GUEST / "bootstrap.ts"
DENO = find_deno_bin()

# A function under development reports an error far more often than it passes this.
MAX_REPORT = 16 * 1024

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PrepareError(OutlastError):
    """A function cannot be run; the text is what Deno said of it."""


@dataclass(frozen=True)
class Prepared:
    """A function whose dependencies are in the cache."""

    function: FunctionSettings
    flags: tuple[str, ...]
    """Where Deno finds what the function imports; the same for fetching and for running."""
    modules: frozenset[Path]
    """The local files that it is made of, links resolved."""


async def prepare(function: FunctionSettings, *, folder: Path, env: Mapping[str, str]) -> Prepared:
    """Fetches what ``function`` imports. Raises `PrepareError`.

    Args:
        folder: where to write what is made for this function.
        env: the environment to run Deno in; names the cache (``DENO_DIR``).
    """
    flags = _lay_out(function, folder)
    await _deno("cache", "--quiet", *flags, str(BOOTSTRAP), str(function.entrypoint), env=env, cwd=function.folder)
    graph = await _deno("info", "--json", *flags, str(function.entrypoint), env=env, cwd=function.folder)
    return Prepared(function, flags, frozenset(_local_modules(json.loads(graph))))


def _lay_out(function: FunctionSettings, folder: Path) -> tuple[str, ...]:
    """Writes the files of ``folder``; returns the flags that make Deno use them."""
    folder.mkdir(parents=True, exist_ok=True)
    map_file, lock_file = folder / "import_map.json", folder / "deno.lock"
    _write_if_new(map_file, json.dumps(import_map.merged(function), indent=2))
    their_lock = function.folder / "deno.lock"
    if their_lock.is_file():
        shutil.copyfile(their_lock, lock_file)
    config = f"--config={function.deno_config}" if function.deno_config is not None else "--no-config"
    return config, f"--import-map={map_file}", f"--lock={lock_file}"


def _local_modules(graph: dict[str, Any]) -> Iterator[Path]:
    for module in graph.get("modules", ()):
        if str(module.get("specifier", "")).startswith("file:") and "local" in module:
            yield Path(module["local"]).resolve()


async def _deno(*arguments: str, env: Mapping[str, str], cwd: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(
        DENO,
        *arguments,
        env={**env, "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise PrepareError(_ANSI.sub("", err.decode("utf-8", "replace"))[:MAX_REPORT].strip())
    return out


def _write_if_new(file: Path, text: str) -> None:
    """Leaves a file alone that says this already: workers may be reading it."""
    with contextlib.suppress(OSError):
        if file.read_text() == text:
            return
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(text)
    beside.replace(file)
