"""Where `[tool.uv]` says that packages come from: indexes, and sources of single packages.

uv itself heeds that in the head of a script, but `uv pip` does not: it would take a package of the same name from PyPI
instead. So it is told in ways that it understands.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

Source = dict[str, Any]


class Index(msgspec.Struct, frozen=True, omit_defaults=True):
    url: str
    name: str = ""
    default: bool = False
    explicit: bool = False
    """Whether only packages whose source names it come from it."""

    def __str__(self) -> str:
        return f"{self.name}={self.url}" if self.name else self.url


class Places(msgspec.Struct, frozen=True):
    index: list[Index] = []
    sources: dict[str, Source | list[Source]] = {}

    def __bool__(self) -> bool:
        return bool(self.index or self.sources)

    def as_environment(self) -> dict[str, str]:
        """The variables by which uv knows the indexes, but for the explicit ones."""
        variables: dict[str, list[str]] = {"UV_INDEX": [], "UV_DEFAULT_INDEX": []}
        for each in self.index:
            if not each.explicit:
                variables["UV_DEFAULT_INDEX" if each.default else "UV_INDEX"].append(str(each))
        return {name: " ".join(values) for name, values in variables.items() if values}

    def as_project(self, dependencies: Sequence[str], folder: Path) -> str:
        """The text of a pyproject.toml that requires the same as a script of this folder."""
        sources = {
            name: [_placed(each, folder) for each in source] if isinstance(source, list) else _placed(source, folder)
            for name, source in self.sources.items()
        }
        project = {"name": "function", "version": "0", "dependencies": dependencies}
        tool = {"uv": {"index": msgspec.to_builtins(self.index), "sources": sources}}
        return f"project = {_toml(project)}\ntool = {_toml(tool)}\n"


def _placed(source: Source, folder: Path) -> Source:
    return {**source, "path": str(folder / source["path"])} if "path" in source else source


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # Strings, numbers and booleans are written in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False)
