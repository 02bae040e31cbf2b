"""Makes one environment: with uv, out of sight, and then puts it into its place."""

import asyncio
import contextlib
import importlib.metadata
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from outlast.config.shared_files import alone
from outlast.core.errors import OutlastError
from outlast.engines.python.requirements import Requirements
from outlast.engines.python.uv import Builds, Interpreter, Uv, UvError

SCRATCH = ".building-"
"""How the names of folders begin in which environments are made."""
_OUTLAST = "outlast"
_PYPI = "https://pypi.org/simple"
_INDEX_OPTION = re.compile(r"-i\b|--(?:extra-)?index-url\b")
_KEPT_QUIET = "may deny that it has a package"
_CREDENTIALS = (
    "an index's credentials go into the environment of outlast serve: UV_INDEX_NAME_USERNAME and "
    "UV_INDEX_NAME_PASSWORD, if the index has this name, or NETRC, which names a file with them"
)
ELSEWHERE = (
    "in the sandbox, a package on disk has to lie in the function's own folder, or in _shared (-e ../_shared/NAME): "
    "neither uv nor the function can read another one, such as a member of a uv workspace"
)
_HINTS = {
    _KEPT_QUIET: _CREDENTIALS,
    "Permission denied (os error 13)": ELSEWHERE,
    "401 Unauthorized": _CREDENTIALS,
    "403 Forbidden": _CREDENTIALS,
    "error sending request": "see that this address is right, and can be reached from this machine; "
    "uv heeds HTTPS_PROXY and SSL_CERT_FILE",
}
"""What to do, by what is said."""

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

    def linked(self) -> list[Path]:
        """The folders elsewhere in which its editable packages lie (Python documentation, `site`; PEP 610)."""
        texts = (file.read_text("utf-8", "replace") for file in self.site_packages.glob("*.pth"))
        # Setuptools names no folder there, but finds packages that lie in their project's own by code.
        origins = (json.loads(file.read_bytes()) for file in self.site_packages.glob("*.dist-info/direct_url.json"))
        projects = (urlsplit(one["url"]).path for one in origins if one.get("dir_info", {}).get("editable"))
        folders = (line for text in texts for line in text.splitlines() if line.startswith("/"))
        return [*map(Path, folders), *(Path(unquote(path)) for path in projects)]


async def build(
    requirements: Requirements,
    interpreter: Interpreter,
    preferred: Sequence[str],
    guest: Sequence[str],
    folder: Path,
    uv: Uv,
    report: Report,
) -> Environment:
    """Makes the environment that ``folder`` is to be. Raises `EnvironmentFailed`.

    Args:
        preferred: versions to take where the requirements leave a choice, as ``name==version``.
        guest: Outlast's own requirements, if that Python cannot use the libraries of this one.
    """
    started_at = time.monotonic()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(folder.parent) as scratch:
            environment = await _Build(requirements, interpreter, preferred, guest, folder, uv, report, scratch).make()
    except UvError as error:
        hints = dict.fromkeys(hint for said, hint in _HINTS.items() if said in str(error))
        said = "\n\nhint: ".join([str(error), *hints])
        raise EnvironmentFailed(f"{requirements.source}: what it asks for cannot be installed:\n{said}") from error
    except OSError as error:
        raise EnvironmentFailed(f"{folder}: cannot be written: {error.strerror}") from error
    report(f"installed {len(environment.packages)} packages", round((time.monotonic() - started_at) * 1000))
    return environment


@dataclass(frozen=True)
class _Build:
    """One environment on its way."""

    requirements: Requirements
    interpreter: Interpreter
    preferred: Sequence[str]
    guest: Sequence[str]
    folder: Path
    uv: Uv
    report: Report
    scratch: Path
    """The folder in which all files are made."""

    @property
    def venv(self) -> Path:
        return self.scratch / "env"

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.venv / "bin" / "python"

    async def make(self) -> Environment:
        guest = self.scratch / "guest.txt"
        # Relocatable: its scripts must still work after it was renamed.
        await self._run("venv", "--relocatable", "--no-project", f"--python={self.interpreter.path}", str(self.venv))
        environment = Environment(str(self.folder), self.interpreter.minor, {})
        installed = self.venv / environment.site_packages.relative_to(self.folder)
        guest.write_text("\n".join(self.guest))
        if self.requirements.lock is None:
            sources = [*self._sources(), guest]
            await self._install(sources, await self._resolve(sources))
        else:
            await self._sync(self.requirements.lock)
            if self.guest:
                versions = await asyncio.to_thread(_versions, installed)
                await self._install([guest], [f"{name}=={version}" for name, version in versions.items()])
        environment.packages.update(await asyncio.to_thread(_versions, installed))
        return await asyncio.to_thread(_put, self.venv, environment)

    def _sources(self) -> list[Path]:
        source, places = self.requirements.source, self.requirements.places
        if source.suffix != ".py" or not places:
            return [source]
        project = self.scratch / "pyproject.toml"
        project.write_text(places.as_project(self.requirements.dependencies, source.parent), "utf-8")
        # Both, because the script may have constraints and the like.
        return [source, project]

    async def _resolve(self, sources: Sequence[Path]) -> list[str]:
        """The exact versions to install."""
        self.report(f"resolving what {self.requirements.source.name} asks for", None)
        locked = self.scratch / "locked.txt"
        # uv keeps the versions that are in its output file already, as far as they fit.
        locked.write_text("\n".join(self.preferred))
        try:
            await self._run(
                *("pip", "compile", *map(str, sources), f"--output-file={locked}", f"--python={self.interpreter.path}"),
                *("--no-header", "--no-annotate", self._without_outlast()),
                builds=True,
            )
        except UvError as error:
            if "not found in the package registry" not in str(error):
                raise
            raise UvError(f"{error}{await self._asked()}") from error
        lines = locked.read_text("utf-8").splitlines()
        self.report(f"installing {len(lines)} packages", None)
        return [line for line in lines if "==" in line]

    async def _install(self, sources: Sequence[Path], versions: Sequence[str]) -> None:
        """Installs what these files ask for. The versions alone would not do: they do not say from which index."""
        chosen = self.scratch / "versions.txt"
        chosen.write_text("\n".join(versions))
        # Workers do not write bytecode, so that nothing they do can change what the next one runs.
        await self._run(
            *("pip", "install", "--compile-bytecode", f"--python={self.python}"),
            *(f"--requirements={source}" for source in sources),
            *(f"--constraints={chosen}", self._without_outlast()),
            builds=True,
        )

    async def _sync(self, lock: Path) -> None:
        """Installs what the lock file says."""
        self.report(f"installing what {lock.name} says", None)
        source = self.requirements.source
        project = [f"--project={source.parent}", "--no-install-project", "--no-dev"]
        await self._run(
            *("sync", "--active", "--frozen", "--compile-bytecode", f"--no-install-package={_OUTLAST}"),
            *([f"--script={source}"] if source.suffix == ".py" else project),
            # Without this, uv would make the environment anew with the Python of a .python-version file.
            f"--python={self.python}",
            env={"VIRTUAL_ENV": str(self.venv)},
            builds=True,
        )

    async def _asked(self) -> str:
        """A hint that names the indexes that uv asks, as it writes them down for who asks for no package."""
        source, options = self.requirements.source, self.scratch / "options.txt"
        lines = self.requirements.text.splitlines() if source.suffix == ".txt" else []
        lines += self.requirements.places.as_options(source.parent)
        options.write_text("\n".join(filter(_INDEX_OPTION.match, lines)))
        emit = ("pip", "compile", "--emit-index-url", "--no-header", f"--python={self.interpreter.path}")
        try:
            told = await self._run(*emit, str(options))
        except UvError:
            return ""
        asked = [*dict.fromkeys(line.split()[-1] for line in filter(_INDEX_OPTION.match, told.splitlines()))]
        perhaps = f"; without credentials, one {_KEPT_QUIET}" if asked != [_PYPI] else ""
        return f"\n\nhint: asked were {', '.join(asked)}{perhaps}"

    async def _run(self, *arguments: str, env: Mapping[str, str] | None = None, builds: bool = False) -> str:
        source = self.requirements.source
        # In pyproject.toml, uv finds them itself.
        indexes = self.requirements.places.as_environment(source.parent) if source.suffix == ".py" else {}
        return await self.uv(
            *arguments,
            cwd=source.parent,
            env={**indexes, **(env or {})},
            builds=Builds(self.scratch, self.interpreter.path) if builds else None,
        )

    def _without_outlast(self) -> str:
        """Functions import Outlast and may list it; they always get the one that runs them."""
        excluded = self.scratch / "excluded.txt"
        excluded.write_text(_OUTLAST)
        return f"--excludes={excluded}"


def _put(venv: Path, environment: Environment) -> Environment:
    """Puts a finished environment into its place, in one step."""
    folder = Path(environment.folder)
    (venv / "outlast.json").write_bytes(msgspec.json.encode(environment))
    if (theirs := read(folder)) is not None:
        # Another node was faster.
        return theirs
    shutil.rmtree(folder, ignore_errors=True)
    venv.rename(folder)
    return environment


def read(folder: Path) -> Environment | None:
    """The environment that was built there, if it is still whole."""
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
    for left in folder.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError), alone(left):
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
    with alone(scratch):
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
