"""Runs uv, which finds Python interpreters and installs packages."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from uv import find_uv_bin

from outlast.core.errors import OutlastError
from outlast.engines.processes import MAX_REPORT, Command, Run
from outlast.sandbox.walls import Walls

UV = find_uv_bin()

_OURS_TO_SAY = ("VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON")
"""Variables that would choose another interpreter or folder for uv."""

_FOR_THE_SEARCH = ("UV_PYTHON_PREFERENCE", "UV_MANAGED_PYTHON", "UV_NO_MANAGED_PYTHON")
"""Variables that say which interpreters may be found. Because of them, uv would make a finished environment anew."""

_USER = re.compile(r"//(?:[^\s/]*@|[^\s/:@]*:(?!\d*[/\s])\S*@)")
"""The user and password in a URL, also in one that is none because of what is in the password."""
_SECRET = ("_PASSWORD", "_TOKEN")
"""Ends of the names of variables whose values are shown to nobody."""


@dataclass(frozen=True)
class Interpreter:
    path: Path
    version: str
    """All three numbers."""

    @property
    def minor(self) -> tuple[int, int]:
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)


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
        if default := given.pop("UV_INDEX_URL", ""):
            # The older name, which uv heeds less.
            given["UV_DEFAULT_INDEX"] = given.get("UV_DEFAULT_INDEX") or default
        self._run = run
        self._confine = confine
        # Downloading a whole interpreter is for the user to allow, not for a function to demand.
        self._env = {"UV_PYTHON_DOWNLOADS": "never", **given, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}

    async def __call__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] = MappingProxyType({}), builds: Builds | None = None
    ) -> str:
        """Runs uv, and returns what it prints, without credentials. Raises `UvError`.

        Args:
            env: variables, where the user's do not say otherwise; those of UV_INDEX come after the user's.
            builds: for a run that may have to build packages.
        """
        indexes = " ".join(filter(None, (each.get("UV_INDEX") for each in (self._env, env))))
        ours = {name: value for name, value in env.items() if not self._env.get(name)}
        given = {name: value for name, value in self._env.items() if name not in _FOR_THE_SEARCH}
        env = {**given, **ours, "UV_INDEX": indexes, "UV_PYTHON_PREFERENCE": "system"}
        command = Command([UV, *arguments, "--quiet"], env, cwd)
        if builds is not None and self._confine is not None:
            # Its temporary files are kept apart as well.
            env = {**env, "TMPDIR": str(builds.scratch), "UV_CACHE_DIR": await self._cache(cwd)}
            command = Command(command.argv, env, cwd, walls=self._confine(cwd, builds, env))
        return without_secrets(await self._run_to_end(command), env)

    async def find_python(self, versions: str, *, cwd: Path) -> Interpreter:
        """An interpreter of this machine, of one of these versions. Raises `UvError`."""
        # With --quiet, uv would not say what it has found.
        found = (await self._run_program([UV, "python", "find", "--no-project", versions], cwd)).strip()
        tell = "import platform; print(platform.python_version())"
        return Interpreter(Path(found), (await self._run_program([found, "-I", "-c", tell], cwd)).strip())

    async def _run_program(self, argv: list[str], cwd: Path) -> str:
        return await self._run_to_end(Command(argv, self._env, cwd))

    async def _cache(self, cwd: Path) -> str:
        cache = (await self._run_program([UV, "cache", "dir"], cwd)).strip()
        await asyncio.to_thread(Path(cache).mkdir, parents=True, exist_ok=True)
        return cache

    async def _run_to_end(self, command: Command) -> str:
        result = await self._run(command)
        if result.code:
            said = without_secrets(result.err.decode("utf-8", "replace"), command.env)[:MAX_REPORT].strip()
            raise UvError(said or f"{Path(command.argv[0]).name} ended with exit code {result.code}")
        return result.out.decode("utf-8", "replace")


def without_secrets(text: str, env: Mapping[str, str]) -> str:
    """What uv, or the build of a package that has these variables, said, without the credentials of indexes."""
    for name, value in env.items():
        if value and name.endswith(_SECRET):
            text = text.replace(value, f"${{{name}}}")
    return _USER.sub("//****@", text)
