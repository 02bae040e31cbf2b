"""Where `[tool.uv]` says that packages come from: indexes, and sources of single packages.

uv itself heeds that in the head of a script, but `uv pip` does not: it would take a package of the same name from PyPI
instead. So it is told in ways that it understands.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

Source = dict[str, Any]
Index = dict[str, Any]
"""As uv has it: a ``url``, perhaps a ``name``; with ``explicit``, only packages whose source names it come from it."""

_IN_VARIABLES = {"url", "name", "default", "explicit"}
_WITHOUT_THEM = {"cache-control", "publish-url"}
"""Keys that do not decide where a package comes from."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_USUAL = {"format": "simple", "authenticate": "auto"}


class Places(msgspec.Struct, frozen=True, rename="kebab"):
    index: list[Index] = []
    sources: dict[str, Source | list[Source]] = {}
    index_url: str = ""
    extra_index_url: list[str] = []
    """``index_url``, ``extra_index_url``: what uv had before ``index``."""

    def __post_init__(self) -> None:
        if not all(isinstance(each.get("url"), str) for each in self.index):
            raise ValueError("an index has no `url`")

    def __bool__(self) -> bool:
        return bool(self.index or self.sources)

    def unsaid(self) -> list[str]:
        """What `as_environment` cannot say about the indexes, so that uv would ask them in another way."""
        return [
            f"{key} = {_toml(value)}"
            for each in self.index
            if not each.get("explicit")
            for key, value in each.items()
            if key not in _IN_VARIABLES | _WITHOUT_THEM and _USUAL.get(key) != value
        ]

    def as_environment(self, folder: Path) -> dict[str, str]:
        """The variables by which uv knows the indexes of a script of this folder, but for the explicit ones."""
        variables: dict[str, list[str]] = {"UV_INDEX": [], "UV_DEFAULT_INDEX": []}
        for each in self.index:
            if not each.get("explicit"):
                url = _located(each["url"], folder)
                named = f"{each['name']}={url}" if "name" in each else url
                variables["UV_DEFAULT_INDEX" if each.get("default") else "UV_INDEX"].append(named)
        return {name: " ".join(values) for name, values in variables.items() if values}

    def as_options(self, folder: Path) -> list[str]:
        """The lines of a requirements.txt that say what `as_environment` does not."""
        explicit = [each["url"] for each in self.index if each.get("explicit")]
        default = [f"--index-url {_located(self.index_url, folder)}"] if self.index_url else []
        return default + [f"--extra-index-url {_located(url, folder)}" for url in [*self.extra_index_url, *explicit]]

    def as_project(self, dependencies: Sequence[str], folder: Path) -> str:
        """The text of a pyproject.toml that requires the same as a script of this folder."""
        sources = {
            name: [_placed(each, folder) for each in source] if isinstance(source, list) else _placed(source, folder)
            for name, source in self.sources.items()
        }
        project = {"name": "function", "version": "0", "dependencies": dependencies}
        index = [{**each, "url": _located(each["url"], folder)} for each in self.index]
        tool = {"uv": {"index": index, "sources": sources}}
        return f"project = {_toml(project)}\ntool = {_toml(tool)}\n"


def _located(url: str, folder: Path) -> str:
    """The same index for who is elsewhere, and without spaces, since those separate indexes in variables."""
    # Like uv, which takes what has no scheme for a path.
    return url.replace(" ", "%20") if _SCHEME.match(url) else folder.joinpath(url).absolute().as_uri()


def _placed(source: Source, folder: Path) -> Source:
    return {**source, "path": str(folder / source["path"])} if "path" in source else source


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # Strings, numbers and booleans are written in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False)
