"""Imports from folders that must not be listed, as Python's own finder would."""

import importlib.util
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class UnlistedFinder:
    """Finds modules by trying their names.

    Put it at the end of ``sys.meta_path``, after the finders for folders that can be listed.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = [Path(folder) for folder in folders]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        last = name.rpartition(".")[2]
        for folder in self._folders if path is None else map(Path, path):
            package, module = folder / last, folder / f"{last}.py"
            if (package / "__init__.py").is_file():
                return importlib.util.spec_from_file_location(
                    name, package / "__init__.py", submodule_search_locations=[str(package)]
                )
            if module.is_file():
                return importlib.util.spec_from_file_location(name, module)
            if package.is_dir():
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [str(package)]
                return spec
        return None
