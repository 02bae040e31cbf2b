"""Which files a function may be made of: whatever its code imports, and what its settings link to, is read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outlast.config.files import resolved
from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.core.language import BY_SUFFIX

CODE = {*BY_SUFFIX, ".cjs", ".cts"}
SHARED = "_shared"
"""The folder beside the functions that all of them may read."""


class OutOfReach(OutlastError):
    """A function imports something that is out of its bounds, or has such settings."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"uses {path}, {why} (--no-sandbox allows it)")


@dataclass(frozen=True)
class Bounds:
    """What confines the workers of a function, and which of the user's files they may read all the same."""

    layers: Sequence[str]
    """Of the sandbox."""
    own: Sequence[Path]
    """The function's own files and folders, see `own`."""
    elsewhere: Sequence[Path]
    """The other files that it is made of, see `beyond`."""


def own(function: FunctionSettings, functions_dir: Path) -> list[Path]:
    """What a function may read: its folder (or only its file, if that lies among others), ``_shared``, static files."""
    if function.folder == functions_dir:
        code = [function.entrypoint]
    else:
        code = [*dict.fromkeys((function.folder, function.entrypoint.parent))]
    return [*code, functions_dir / SHARED, *function.static_files]


def beyond(modules: Iterable[Path], *, own: Iterable[Path], root: Path, configured: Iterable[Path] = ()) -> list[Path]:
    """The modules (links resolved) that are neither the function's own nor shared, but allowed.

    Allowed are code of the same project, and what ``configured`` names. Raises `OutOfReach` for anything else.

    Args:
        root: where code may come from, see `repository`.
    """
    folders = [resolved(path) for path in own]
    granted = {resolved(path) for path in configured}
    around = resolved(root)
    found = []
    for module in sorted(modules):
        if any(module.is_relative_to(folder) for folder in folders):
            continue
        found.append(module)
        if module in granted:
            continue
        if not module.is_relative_to(around):
            raise OutOfReach(module, f"which lies outside {around}")
        if module.suffix not in CODE:
            why = "which is not code, and lies outside its folder and _shared: static_files in config.toml can name it"
            raise OutOfReach(module, why)
    return found


def is_shared_data(path: Path, functions_dir: Path) -> bool:
    """Whether this is ``_shared``, or something in it that no import names, but that the code of any function may read.

    ``path``: links resolved.
    """
    return path.is_relative_to(resolved(functions_dir / SHARED)) and path.suffix not in BY_SUFFIX


def repository(root: Path) -> Path:
    """The bounds of the project's own code: the repository that it lies in, or else the project itself."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
