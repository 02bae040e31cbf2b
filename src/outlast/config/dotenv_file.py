"""``.env`` files, read the way Supabase's CLI reads them, and what ``env(NAME)`` finds."""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import parse_stream

from outlast.config.errors import ConfigError
from outlast.config.files import read_text

_SINGLE_QUOTED = re.compile(r"""\s*(?:export\s+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=[^\S\r\n]*'""")
_EXPANSION = re.compile(r"\\\$|\$(?:\{(?P<braced>[A-Z_][A-Z0-9_]*)\}|(?P<bare>[A-Z_][A-Z0-9_]*))")


@dataclass(frozen=True)
class Variable:
    """One ``NAME=value`` of a .env file, and its line."""

    value: str
    line: int


@dataclass(frozen=True)
class DotenvFile:
    """The variables of one file; of several lines with the same name, the last one counts."""

    variables: Mapping[str, Variable]
    warnings: tuple[str, ...] = ()


def read(path: Path, shown: str) -> DotenvFile | None:
    """Reads a .env file; None if there is none. Raises ConfigError for a line that is not ``NAME=value``.

    ``$NAME`` and ``${NAME}`` stand for a variable further up in the same file, except in single quotes or
    after a backslash. python-dotenv's own expansion is not used: it reads the environment of the process,
    works within single quotes too, and does not know the form without braces.
    """
    text = read_text(path, shown)
    if text is None:
        return None
    variables: dict[str, Variable] = {}
    warnings: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        leading = len(original) - len(original.lstrip())
        line = binding.original.line + original.count("\n", 0, leading)
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigError(f"{shown}:{line}: is not of the form NAME=value")
        if binding.key is None or binding.value is None:
            continue
        value = binding.value
        if not _SINGLE_QUOTED.match(original):
            value, unknown = _expand(value, variables)
            warnings += [
                f"{shown}:{line}: {binding.key}: ${name} is not set further up in this file: left empty;"
                " single quotes around the value keep it as it is"
                for name in unknown
            ]
        variables[binding.key] = Variable(value, line)
    return DotenvFile(variables, tuple(warnings))


def _expand(value: str, variables: Mapping[str, Variable]) -> tuple[str, list[str]]:
    unknown: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if name is None:
            return "$"
        if name not in variables:
            unknown.append(name)
            return ""
        return variables[name].value

    return _EXPANSION.sub(replacement, value), unknown


@dataclass
class Environment:
    """What ``env(NAME)`` in a TOML file reads.

    First the environment of the process, then, as Supabase's CLI does, the .env files of the supabase folder
    and of the folder above it. These are read only when a name is looked up that the process does not have:
    they belong to other programs as well, and a mistake in one that is not needed must not stop the start.
    """

    environ: Mapping[str, str]
    folders: tuple[Path, ...]
    shown: Callable[[Path], str]
    consulted: list[Path] = field(default_factory=list)
    _from_files: dict[str, str] | None = None

    def get(self, name: str) -> str | None:
        """The value, or None for a variable that is not set; an empty one counts as not set."""
        if value := self.environ.get(name):
            return value
        if self._from_files is None:
            self._from_files = self._read_files()
        return self._from_files.get(name) or None

    @property
    def hint(self) -> str:
        """Where a variable can be set, for error texts."""
        return f"in the environment or in {self.shown(self.folders[0] / '.env')}"

    def _read_files(self) -> dict[str, str]:
        stage = self.environ.get("SUPABASE_ENV") or "development"
        names = [f".env.{stage}.local", ".env.local", f".env.{stage}", ".env"]
        if stage == "test":
            # Tests should run the same on every machine: the local file is left out, as in Supabase's CLI.
            names.remove(".env.local")
        values: dict[str, str] = {}
        for path in [folder / name for folder in self.folders for name in names]:
            self.consulted.append(path)
            if found := read(path, self.shown(path)):
                for name, variable in found.variables.items():
                    values.setdefault(name, variable.value)
        return values
