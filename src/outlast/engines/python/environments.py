"""The packages of Python functions: one environment for each set of requirements, built by uv and kept.

An environment is complete as soon as it exists, because it is built elsewhere and then renamed. From then on it is used
without the network, and never changed. Functions with the same requirements share it. One that no function requires any
more is kept for a while, since functions of another branch may.
"""

import asyncio
import contextlib
import importlib.metadata
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from outlast.core.errors import OutlastError
from outlast.engines.python import libraries
from outlast.engines.python.leases import Leases, alone
from outlast.engines.python.requirements import Requirements
from outlast.engines.python.uv import Builds, Uv, UvError

OURS = sys.version_info[:2]
OLDEST = "3.11"
"""The oldest Python that functions can run on: the same as for Outlast itself, in pyproject.toml."""
UNUSED_S = 30 * 86_400.0
"""An environment that nobody has used for this long is removed."""
_SCRATCH = ".building-"
FORMAT = "1"
"""Part of every environment's key. Change it when Outlast changes what an environment contains."""

Report = Callable[[str, int | None], None]
"""Called with words for the user while an environment is built; the last time with the milliseconds it took."""


class EnvironmentFailed(OutlastError):
    """A function's packages cannot be installed; the text is what uv said about it."""


class Environment(msgspec.Struct, frozen=True):
    """An interpreter and its packages, on disk."""

    folder: str
    version: tuple[int, int]
    """Of Python."""
    packages: dict[str, str]
    """Versions by canonical name."""

    @property
    def python(self) -> Path:
        return Path(self.folder, "bin", "python")

    @property
    def site_packages(self) -> Path:
        major, minor = self.version
        return Path(self.folder, "lib", f"python{major}.{minor}", "site-packages")


@dataclass(frozen=True)
class _Interpreter:
    path: Path
    version: str
    """All three numbers."""

    @property
    def minor(self) -> tuple[int, int]:
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)


class Environments:
    def __init__(self, folder: Path, uv: Uv) -> None:
        """``folder``: holds the environments."""
        self._folder = folder
        self._uv = uv
        self._leases = Leases(folder, _SCRATCH)
        self._asked: dict[Path, str] = {}
        """What the sources of requirements asked for last: keys of environments."""
        self._building: dict[str, asyncio.Task[Environment]] = {}

    async def provide(
        self, requirements: Requirements, preferred: Mapping[str, str], report: Report
    ) -> Environment | None:
        """The environment that meets the requirements; built first if there is none yet.

        None if this process's own interpreter meets them as it is. Raises `EnvironmentFailed`.

        Args:
            preferred: versions by name, taken where the requirements leave a choice.
        """
        interpreter = await self._interpreter(requirements)
        if not requirements.packages and interpreter.minor == OURS:
            return None
        wanted = [f"{name}=={version}" for name, version in sorted(preferred.items())]
        guest = [str(each) for each in libraries.requirements()] if interpreter.minor != OURS else []
        python = [str(interpreter.path), interpreter.version, sysconfig.get_platform()]
        key = requirements.key(FORMAT, *python, *wanted, *guest)
        folder = self._folder / key
        self._asked[requirements.source] = key
        if self._leases.take(key) and (found := _read(folder)) is not None:
            return found
        building = self._building.get(key)
        if building is None:
            build = _Build(requirements, interpreter, wanted, guest, folder, self._uv, report)
            building = self._building[key] = asyncio.create_task(build.run())
            building.add_done_callback(lambda _: self._building.pop(key))
        # Cancelling this call must not cancel the build for others that wait for it.
        environment = await asyncio.shield(building)
        self._leases.take(key)
        return environment

    async def remove_unused(self) -> list[Path]:
        """Removes environments that no function of this node requires and nobody has used for `UNUSED_S`.

        Returns those that were removed. Never raises.

        Call it when the requirements of all functions have been read.
        """
        self._asked = {source: key for source, key in self._asked.items() if source.exists()}
        self._leases.keep({*self._asked.values()})
        return await asyncio.to_thread(self._leases.remove_unused, UNUSED_S)

    async def close(self) -> None:
        """Ends what is being built."""
        for building in [*self._building.values()]:
            building.cancel()
            await asyncio.wait([building])
        self._leases.keep(())

    async def _interpreter(self, requirements: Requirements) -> _Interpreter:
        ours = ".".join(map(str, sys.version_info[:3]))
        if requirements.python.contains(ours, prereleases=True):
            return _Interpreter(Path(sys.executable), ours)
        wanted = f"{requirements.python},>={OLDEST}"
        try:
            path, version = await self._uv.find_python(wanted, cwd=requirements.source.parent)
        except UvError as error:
            raise EnvironmentFailed(
                f"{requirements.source}: requires Python {requirements.python}, and this is {ours}; "
                f"no other that is {OLDEST} or later was found on this machine "
                f"(UV_PYTHON_DOWNLOADS=automatic lets uv fetch one):\n{error}"
            ) from error
        return _Interpreter(Path(path), version)


@dataclass(frozen=True)
class _Build:
    """One environment on its way."""

    requirements: Requirements
    interpreter: _Interpreter
    preferred: list[str]
    guest: list[str]
    """Outlast's own requirements, if that Python cannot use the libraries of this one."""
    folder: Path
    uv: Uv
    report: Report

    async def run(self) -> Environment:
        started_at = time.monotonic()
        source = self.requirements.source
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with _scratch(self.folder.parent) as scratch:
                self.report(f"resolving what {source.name} asks for", None)
                locked = await self._resolve(scratch)
                count = sum(line[:1].isalnum() for line in locked.read_text("utf-8").splitlines())
                self.report(f"installing {count} packages", None)
                environment = await self._install(locked, scratch / "env")
        except UvError as error:
            raise EnvironmentFailed(f"{source}: what it asks for cannot be installed:\n{error}") from error
        except OSError as error:
            raise EnvironmentFailed(f"{self.folder}: cannot be written: {error.strerror}") from error
        self.report(f"installed {len(environment.packages)} packages", round((time.monotonic() - started_at) * 1000))
        return environment

    async def _resolve(self, scratch: Path) -> Path:
        """Writes a file that says exactly what to install."""
        source, cwd = self.requirements.source, self.requirements.source.parent
        exported, locked, excluded = (scratch / name for name in ("exported.txt", "locked.txt", "excluded.txt"))
        if self.requirements.lock is not None:
            which = ["--script", str(source)] if source.suffix == ".py" else ["--project", str(source.parent)]
            without = ["--no-emit-project", "--no-dev"] if source.suffix != ".py" else []
            await self.uv("export", "--frozen", *which, *without, "--no-hashes", f"--output-file={exported}", cwd=cwd)
            source = exported
        # Functions import Outlast and may list it; they always get the one that runs them.
        excluded.write_text("outlast\n")
        # uv keeps the versions that are in its output file already, as far as they fit.
        locked.write_text("\n".join(self.preferred))
        guest = scratch / "guest.txt"
        guest.write_text("\n".join(self.guest))
        await self.uv(
            *("pip", "compile", str(source), str(guest), f"--output-file={locked}", f"--excludes={excluded}"),
            *(f"--python={self.interpreter.path}", "--no-header", "--no-annotate"),
            cwd=cwd,
            builds=Builds(scratch, self.interpreter.path),
        )
        return locked

    async def _install(self, locked: Path, scratch: Path) -> Environment:
        cwd = self.requirements.source.parent
        # Relocatable: its scripts must still work after it was renamed.
        await self.uv(
            "venv", "--relocatable", "--no-project", f"--python={self.interpreter.path}", str(scratch), cwd=cwd
        )
        python = scratch / "bin" / "python"
        # Workers do not write bytecode, so that nothing they do can change what the next one runs.
        await self.uv(
            "pip",
            "install",
            "--no-deps",
            "--compile-bytecode",
            f"--python={python}",
            f"--requirements={locked}",
            cwd=cwd,
            builds=Builds(locked.parent, self.interpreter.path),
        )
        environment = Environment(str(self.folder), self.interpreter.minor, {})
        installed = scratch / environment.site_packages.relative_to(self.folder)
        environment.packages.update(await asyncio.to_thread(_versions, installed))
        return await asyncio.to_thread(_put, scratch, environment)


def _put(scratch: Path, environment: Environment) -> Environment:
    """Puts a finished environment into its place, in one step."""
    folder = Path(environment.folder)
    (scratch / "outlast.json").write_bytes(msgspec.json.encode(environment))
    if (theirs := _read(folder)) is not None:
        # Another node was faster.
        return theirs
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    return environment


def _read(folder: Path) -> Environment | None:
    try:
        environment = msgspec.json.decode((folder / "outlast.json").read_bytes(), type=Environment)
    except (OSError, msgspec.DecodeError):
        return None
    # The project may have been moved, and an interpreter may be gone after an upgrade of the system.
    return environment if environment.folder == str(folder) and environment.python.exists() else None


def _versions(site_packages: Path) -> dict[str, str]:
    from packaging.utils import canonicalize_name

    found = importlib.metadata.distributions(path=[str(site_packages)])
    return {canonicalize_name(each.metadata["Name"]): each.version for each in found}


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder on the same file system as the environments. It is removed afterwards, as are those of dead nodes."""
    for left in folder.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError), alone(left):
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    with alone(scratch):
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
