"""Python functions, run in forks of a zygote or in interpreters of their own."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from outlast.config.files import resolved
from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.core.outcome import EndReason
from outlast.engines import backstop, reach
from outlast.engines.processes import Command, Exit, Run, Spawner
from outlast.engines.python import libraries, local_imports, requirements, walls
from outlast.engines.python.build import Environment
from outlast.engines.python.environments import OURS, Environments
from outlast.engines.python.start import Start, arguments
from outlast.engines.python.uv import Uv
from outlast.engines.reach import Bounds
from outlast.sandbox.walls import Walls

ZYGOTE = (
    *(sys.executable, "-I", "-X", "utf8", "-c"),
    "import sys; sys.path += [p for p in sys.argv[1:] if p not in sys.path]; "
    "from outlast.engines.python.zygote import main; main()",
    *libraries.folders(),
)
"""The program to give to a `Spawner`."""
KEEPS = hasattr(os, "memfd_create")
"""Where there is no such memory (macOS), a worker hands each start of a task to the kernel at once."""

Report = Callable[[str, str, int | None], None]
"""Called with a function's name, words on the progress of its preparation, and, once done, milliseconds."""


class PrepareError(OutlastError):
    """A function cannot be run."""


class PythonEngine:
    """Implements `outlast.supervisor.resources.Engine`."""

    def __init__(
        self,
        *,
        zygote: Spawner,
        run: Run,
        state_dir: Path,
        functions_dir: Path,
        root: Path,
        environ: Mapping[str, str],
        report: Report,
        layers: Sequence[str] | None,
    ) -> None:
        """
        Args:
            zygote: a spawner of `ZYGOTE`.
            run: for programs that prepare functions.
            root: the project's root folder.
            layers: of the sandbox; None: functions are not confined.
        """
        self._zygote = zygote
        self._functions_dir = functions_dir
        self._root = reach.repository(root)
        confine = None
        if layers is not None:
            confine = partial(walls.while_installing, layers=layers, functions_dir=functions_dir)
        uv = Uv(run, environ, confine)
        self._environments = Environments(state_dir / "envs", uv)
        self._report = report
        self._layers = layers
        self._told: dict[str, str] = {}
        """What was reported about each function's start, so that it is reported once."""

    async def prepare(self, function: FunctionSettings) -> "PythonProgram":
        preloaded: Mapping[str, str] = (await self._zygote.hello())["versions"]
        environment = None
        if (wanted := await asyncio.to_thread(requirements.read, function)) is not None:
            environment = await self._environments.provide(
                wanted, preloaded, lambda text, ms: self._report(function.name, text, ms)
            )
            if environment is not None:
                _refuse_unsupported(wanted.source, environment)
        code = [*dict.fromkeys((function.entrypoint.parent, function.folder))]
        modules = await asyncio.to_thread(_modules, function, [*code, self._functions_dir], environment)
        bounds = None
        if self._layers is not None:
            own = reach.own(function, self._functions_dir)
            elsewhere = reach.beyond(modules, own=own, root=self._root, configured=[function.entrypoint])
            bounds = Bounds(self._layers, own, elsewhere)
        return PythonProgram(
            function=function,
            code=code,
            functions_dir=self._functions_dir,
            environment=environment,
            forks=self._can_fork(function, environment, preloaded),
            modules=modules,
            bounds=bounds,
        )

    async def remove_unused(self) -> list[Path]:
        """As of `outlast.engines.python.environments.Environments.remove_unused`."""
        return await self._environments.remove_unused()

    async def close(self) -> None:
        await self._environments.close()

    def _can_fork(
        self, function: FunctionSettings, environment: Environment | None, preloaded: Mapping[str, str]
    ) -> bool:
        if environment is None:
            return True
        if environment.version != OURS:
            major, minor = environment.version
            why = f"it runs on Python {major}.{minor}"
        else:
            other = [
                f"{name} {version} (not {preloaded[name]})"
                for name, version in sorted(environment.packages.items())
                if preloaded.get(name, version) != version
            ]
            why = f"it needs {', '.join(other)}" if other else ""
        if why and self._told.get(function.name) != why:
            self._report(function.name, f"every worker starts a new interpreter, which takes longer: {why}", None)
        self._told[function.name] = why
        return not why


@dataclass(frozen=True)
class PythonProgram:
    """Implements `outlast.supervisor.resources.Program`."""

    function: FunctionSettings
    code: Sequence[Path]
    functions_dir: Path
    environment: Environment | None
    forks: bool
    modules: frozenset[Path]
    bounds: Bounds | None
    """None: it is not confined."""

    def command(self, folder: Path, execution_id: str) -> Command:
        env = {**self.function.env, "SB_EXECUTION_ID": execution_id, "TMPDIR": str(folder / "tmp")}
        own = self.environment
        start = Start(
            folder=str(folder),
            script=str(self.function.entrypoint),
            code=[str(path) for path in self.code],
            shared=[str(self.functions_dir)],
            environment=own.folder if own is not None and self.forks else None,
            layers=() if self.bounds is None else self.bounds.layers,
            memory_mb=self.function.limits.memory_mb,
            keeps=KEEPS,
        )
        argv: Sequence[str] = ()
        if own is not None and not self.forks:
            paths = libraries.folders() if own.version == OURS else (libraries.own_folder(),)
            argv = [str(own.python), *arguments(paths, start)]
        fork = {**start} if not argv else None
        return Command(argv, env, self.function.folder, fork=fork, walls=self._walls(folder), keeps=start["keeps"])

    def _walls(self, folder: Path) -> Walls | None:
        if self.bounds is None:
            return None
        return walls.around(
            self.function,
            bounds=self.bounds,
            folder=folder,
            environment=self.environment,
            rlimits=backstop.rlimits(self.function.limits),
        )

    def limit_reached(self, used: Exit, errors: str) -> EndReason | None:
        return backstop.limit_reached(used, errors, self.function.limits)

    def concerns(self, path: Path) -> bool:
        return path in self.modules or reach.is_shared_data(path, self.functions_dir)


def _refuse_unsupported(source: Path, environment: Environment) -> None:
    for needed in libraries.requirements():
        version = environment.packages.get(needed.name)
        if version is not None and not needed.specifier.contains(version, prereleases=True):
            raise PrepareError(f"{source}: leads to {needed.name} {version}, but Outlast itself needs {needed}")


def _modules(function: FunctionSettings, roots: Sequence[Path], environment: Environment | None) -> frozenset[Path]:
    """The local files that it imports. Raises `PrepareError` for one that is not Python."""
    try:
        linked = environment.linked() if environment is not None else []
        return local_imports.find(function.entrypoint, [*roots, *linked])
    except SyntaxError as error:
        if environment is not None and environment.version != OURS:
            # It may be valid for the function's own Python.
            return frozenset({resolved(function.entrypoint)})
        line = f"\n    {error.text.strip()}" if error.text else ""
        raise PrepareError(
            f"{function.entrypoint}:{error.lineno}: {type(error).__name__}: {error.msg}{line}"
        ) from error
    except (OSError, ValueError) as error:
        raise PrepareError(f"{function.entrypoint}: cannot be read: {error}") from error
