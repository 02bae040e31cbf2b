"""Runs uv, which finds Python interpreters and installs packages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from outlast.core.errors import OutlastError
from outlast.engines.processes import Command, Result
from outlast.sandbox.walls import Walls

UV = find_uv_bin()
MAX_REPORT = 16 * 1024
"""A function under development reports an error far more often than it passes this."""

_OURS_TO_SAY = ("VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON")
"""Variables that would choose another interpreter or folder for uv."""

Run = Callable[[Command], Awaitable[Result]]
"""Runs a program to its end."""


@dataclass(frozen=True)
class Builds:
    """What a package's build, which may run anybody's code, may use: a folder to write to, and the interpreter."""

    scratch: Path
    interpreter: Path


Confine = Callable[[Path, Builds, Mapping[str, str]], Walls]
"""The walls for a run of uv that may build: called with its folder and its environment."""


class UvError(OutlastError):
    """uv failed; the text is what it said."""


class Uv:
    def __init__(self, run: Run, environ: Mapping[str, str], confine: Confine | None = None) -> None:
        """``environ``: the user's, which says which index to ask, and how. ``confine``: None for no sandbox."""
        given = {name: value for name, value in environ.items() if name not in _OURS_TO_SAY}
        self._run = run
        self._confine = confine
        # Downloading a whole interpreter is for the user to allow, not for a function to demand.
        self._env = {"UV_PYTHON_DOWNLOADS": "never", **given, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}

    async def __call__(self, *arguments: str, cwd: Path, builds: "Builds | None" = None) -> None:
        """Runs uv. Raises `UvError`. ``builds``: for a run that may have to build packages."""
        command = Command([UV, *arguments, "--quiet"], self._env, cwd)
        if builds is not None and self._confine is not None:
            # Its temporary files are kept apart as well.
            env = {**self._env, "TMPDIR": str(builds.scratch), "UV_CACHE_DIR": await self._cache(cwd)}
            command = Command(command.argv, env, cwd, walls=self._confine(cwd, builds, env))
        await self._run_to_end(command)

    async def find_python(self, versions: str, *, cwd: Path) -> tuple[str, str]:
        """The path of an interpreter, and its version in full. Raises `UvError`."""
        # With --quiet, uv would not say what it has found.
        found = (await self._run_program([UV, "python", "find", "--no-project", versions], cwd)).strip()
        tell = "import platform; print(platform.python_version())"
        return found, (await self._run_program([found, "-I", "-c", tell], cwd)).strip()

    async def _run_program(self, argv: list[str], cwd: Path) -> str:
        return await self._run_to_end(Command(argv, self._env, cwd))

    async def _cache(self, cwd: Path) -> str:
        cache = (await self._run_program([UV, "cache", "dir"], cwd)).strip()
        await asyncio.to_thread(Path(cache).mkdir, parents=True, exist_ok=True)
        return cache

    async def _run_to_end(self, command: Command) -> str:
        result = await self._run(command)
        if result.code:
            said = result.err.decode("utf-8", "replace")[:MAX_REPORT].strip()
            raise UvError(said or f"{Path(command.argv[0]).name} ended with exit code {result.code}")
        return result.out.decode("utf-8", "replace")
