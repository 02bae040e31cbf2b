"""Running uv, which knows Python's interpreters and packages."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from uv import find_uv_bin

from outlast.core.errors import OutlastError
from outlast.engines.processes import Command, Result

UV = find_uv_bin()
MAX_REPORT = 16 * 1024
"""A function under development reports an error far more often than it passes this."""

_OURS_TO_SAY = ("VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON")
"""Which interpreter and which folder uv works for."""

Run = Callable[[Command], Awaitable[Result]]
"""Runs a program to its end."""


class UvError(OutlastError):
    """The text is what uv said."""


class Uv:
    def __init__(self, run: Run, environ: Mapping[str, str]) -> None:
        """``environ``: the user's; it says which index uv is to ask, and how."""
        given = {name: value for name, value in environ.items() if name not in _OURS_TO_SAY}
        self._run = run
        # To fetch a whole interpreter is more than what a function asks for, unless the user says so.
        self._env = {"UV_PYTHON_DOWNLOADS": "never", **given, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}

    async def __call__(self, *arguments: str, cwd: Path) -> None:
        """Raises `UvError`."""
        await self._run_program([UV, *arguments, "--quiet"], cwd)

    async def find_python(self, versions: str, *, cwd: Path) -> tuple[str, str]:
        """The path of an interpreter, and its version in full. Raises `UvError`."""
        # Asked to be quiet, uv would not say what it has found.
        found = (await self._run_program([UV, "python", "find", "--no-project", versions], cwd)).strip()
        tell = "import platform; print(platform.python_version())"
        return found, (await self._run_program([found, "-I", "-c", tell], cwd)).strip()

    async def _run_program(self, argv: list[str], cwd: Path) -> str:
        result = await self._run(Command(argv, self._env, cwd))
        if result.code:
            said = result.err.decode("utf-8", "replace")[:MAX_REPORT].strip()
            raise UvError(said or f"{Path(argv[0]).name} ended with exit code {result.code}")
        return result.out.decode("utf-8", "replace")
