"""Reads what a Python function requires: from its own head (PEP 723), or from a file beside it."""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.engines.python.indexes import Places

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

# PEP 723: comment lines only, from the opening line to the last closing one that they reach.
_BLOCK = re.compile(r"^# /// script[ \t]*\n((?:#(?: .*)?\n)*)# ///[ \t]*$", re.MULTILINE)
_INCLUDED = re.compile(r"(?:-r|-c|--requirements?|--constraints?)[ =]*(\S+)")
_LOCAL = re.compile(r"\.{1,2}/|file:|-e\b|\bpath\b|\bworkspace\b|\"url\":\"(?!\w+:)")
"""May refer to something beside the source: the same text in another place then means something else."""
_COMMENT = re.compile(r"(?:^|\s)#.*")


class _Tool(msgspec.Struct, frozen=True):
    uv: dict[str, Any] = {}


class _Table(msgspec.Struct, rename="kebab"):
    dependencies: list[str] = []
    dynamic: list[str] = []
    requires_python: str = ""
    tool: _Tool = _Tool()
    """Only in a script."""


class _Project(msgspec.Struct):
    project: _Table | None = None
    tool: _Tool = _Tool()


_Shape = TypeVar("_Shape", _Table, _Project)


class RequirementsError(OutlastError):
    """A function's requirements cannot be read."""


@dataclass(frozen=True)
class Requirements:
    """The requirements of one function."""

    source: Path
    """The file that states them, in a form that uv reads: main.py, requirements.txt or pyproject.toml."""
    packages: bool
    """Whether it requires any package."""
    python: "SpecifierSet"
    lock: Path | None
    """uv's lock file beside the source, if there is one."""
    text: str = field(repr=False)
    """Everything that decides what is installed, and nothing else."""
    places: Places = field(default_factory=Places, repr=False)
    dependencies: Sequence[str] = field(default=(), repr=False)
    """``places``, ``dependencies``: what a script or a pyproject.toml says; empty for requirements.txt."""

    def key(self, *more: str) -> str:
        """The name of the environment that meets them, which depends on the text and on ``more``."""
        parts = [self.text, self.lock.read_text("utf-8") if self.lock is not None else "", *more]
        if _LOCAL.search(self.text):
            parts.append(str(self.source.parent))
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:20]


def read(function: FunctionSettings) -> Requirements | None:
    """None for a function without requirements. Raises `RequirementsError`."""
    try:
        return _of_script(function.entrypoint) or _of_files(function)
    except (OSError, UnicodeDecodeError) as error:
        raise RequirementsError(f"what {function.entrypoint} needs cannot be read: {error}") from error


def _of_script(script: Path) -> Requirements | None:
    blocks = _BLOCK.findall(script.read_text("utf-8-sig"))
    if not blocks:
        return None
    if len(blocks) > 1:
        raise RequirementsError(f"{script}: has more than one # /// script block; keep one of them")
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in blocks[0].splitlines(keepends=True))
    block = _toml(script, text, _Table)
    found = _of_table(script, block, block.tool, script.with_name(f"{script.name}.lock"))
    if found.lock is None and (unsaid := found.places.unsaid()):
        raise RequirementsError(
            f"{script}: {', '.join(unsaid)}: counts here only for an index that is explicit; mark it so, "
            f"make a lock file (uv lock --script {script.name}), or use a pyproject.toml instead"
        )
    return found


def _of_files(function: FunctionSettings) -> Requirements | None:
    for folder in dict.fromkeys((function.entrypoint.parent, function.folder)):
        listed, project = folder / "requirements.txt", folder / "pyproject.toml"
        if listed.is_file():
            # Imported here, because most projects have no function with requirements.
            from packaging.specifiers import SpecifierSet

            lines = [*_lines(listed, set())]
            return Requirements(listed, bool(lines), SpecifierSet(), None, "\n".join(lines))
        if project.is_file():
            content = _toml(project, project.read_text("utf-8"), _Project)
            if content.project is not None:
                return _of_table(project, content.project, content.tool, folder / "uv.lock")
    return None


def _of_table(source: Path, table: _Table, tool: _Tool, lock: Path) -> Requirements:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        python = SpecifierSet(table.requires_python)
    except InvalidSpecifier as error:
        raise RequirementsError(f"{source}: requires-python is not a version specifier: {error}") from error
    try:
        places = msgspec.convert(tool.uv, Places)
    except msgspec.ValidationError as error:
        raise RequirementsError(f"{source}: [tool.uv] cannot be read: {error}") from error
    packages = bool(table.dependencies) or "dependencies" in table.dynamic
    decisive = [table.dependencies, table.dynamic, str(python), tool.uv]
    return Requirements(
        source=source,
        packages=packages,
        python=python,
        lock=lock if lock.is_file() else None,
        text=msgspec.json.encode(decisive).decode(),
        places=places,
        dependencies=table.dependencies,
    )


def _toml(file: Path, text: str, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.convert(tomllib.loads(text), shape)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        where = "its # /// script block" if file.suffix == ".py" else "it"
        raise RequirementsError(f"{file}: {where} cannot be read: {error}") from error


def _lines(file: Path, seen: set[Path]) -> Iterator[str]:
    """The lines of a requirements file and of those it includes, without comments and empty lines."""
    seen.add(file)
    for raw in file.read_text("utf-8-sig").splitlines():
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        yield line
        if included := _INCLUDED.match(line):
            other = file.parent / included[1]
            # For a missing file, uv has a better message.
            if other not in seen and other.is_file():
                yield from _lines(other, seen)
