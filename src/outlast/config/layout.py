"""Where the parts of a project are, worked out from the one path that the user names."""

import os
from dataclasses import dataclass
from pathlib import Path

from outlast.config.errors import ConfigError

STATE = ".outlast"
"""The folder in a project's root for Outlast's own files."""


@dataclass(frozen=True)
class Layout:
    """The folders of a project; all are absolute, and none has to exist."""

    root: Path
    settings_dir: Path
    """Holds config.toml and outlast.toml; paths in these files are relative to it."""
    functions_dir: Path
    only_file: Path | None = None
    """The one function to serve, where the user named a file."""

    def path(self, written: str) -> Path:
        """What a value in the settings files means. Links are not resolved, but ``..`` is."""
        return Path(os.path.normpath(self.settings_dir / written))

    def shown(self, path: Path) -> str:
        """The path as error texts show it: relative to the root if it lies inside."""
        return str(path.relative_to(self.root) if self.root in path.parents else path)


def locate(target: Path) -> Layout:
    """Finds the project that ``target`` belongs to.

    ``target`` is a folder that holds ``supabase``, the supabase folder itself, its functions folder, any
    folder of functions, or one function file. Raises ConfigError if there is nothing.
    """
    # Not resolve(): a linked functions folder still belongs to the project that links to it.
    path = Path(os.path.abspath(target))  # noqa: PTH100
    if path.is_file():
        return _of_file(path)
    if not path.is_dir():
        raise ConfigError(
            f"{target}: there is no such file or folder; "
            "name a folder that holds supabase/functions, a folder of functions, or one function file"
        )
    if (path / "supabase").is_dir():
        return _of_supabase(path / "supabase")
    if _is_supabase(path) and (path / "functions").is_dir():
        return _of_supabase(path)
    if _is_functions_of_supabase(path):
        return _of_supabase(path.parent)
    return Layout(root=path, settings_dir=path, functions_dir=path)


def _of_file(file: Path) -> Layout:
    functions_dir = file.parent.parent
    if _is_functions_of_supabase(functions_dir):
        supabase = functions_dir.parent
        return Layout(supabase.parent, supabase, functions_dir, only_file=file)
    return Layout(file.parent, file.parent, file.parent, only_file=file)


def _of_supabase(supabase: Path) -> Layout:
    return Layout(root=supabase.parent, settings_dir=supabase, functions_dir=supabase / "functions")


def _is_supabase(folder: Path) -> bool:
    return folder.name == "supabase" or (folder / "config.toml").is_file()


def _is_functions_of_supabase(folder: Path) -> bool:
    return folder.name == "functions" and _is_supabase(folder.parent)
