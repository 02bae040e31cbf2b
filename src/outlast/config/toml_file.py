"""TOML files with typed reading; every error names file, line and key."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from outlast.config.dotenv_file import Environment
from outlast.config.errors import ConfigError
from outlast.config.files import read_text
from outlast.config.positions import KeyPath, lines_of_keys

_Choice = TypeVar("_Choice", bound=StrEnum)
_Default = TypeVar("_Default", int, None)

_ENV = re.compile(r"env\((.*)\)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ERROR_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
# More digits than any number here can have, and fewer than int() refuses.
_DIGITS = re.compile(r"[0-9]{1,100}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def read(path: Path, shown: str, environment: Environment) -> "Section":
    """The root table of a file; empty if there is no such file. Raises ConfigError for broken TOML."""
    text = read_text(path, shown)
    if text is None:
        return Section(_Document(shown, "", environment), (), {})
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not all that it refuses is a TOMLDecodeError: numbers of thousands of digits, and arrays that never close.
        position = _ERROR_POSITION.search(str(error))
        line = int(position[1]) if position and position[1] else len(text.splitlines()) or 1
        problem = str(error)[: position.start()] if position else str(error)
        raise ConfigError(f"{shown}:{line}: is not valid TOML: {problem}") from error
    return Section(_Document(shown, text, environment), (), values)


def given(values: Mapping[str, object], shown: str, environment: Environment) -> "Section":
    """The root table of values from no file; errors name ``shown`` and the key."""
    return Section(_Document(shown, None, environment), (), values)


@dataclass
class _Document:
    shown: str
    text: str | None
    """None: the values come from no file, and errors name no line."""
    environment: Environment

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        return lines_of_keys(self.text or "")

    def where(self, path: KeyPath) -> str:
        if self.text is None:
            return self.shown
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self.shown}:{self._lines.get(path, 1)}"


@dataclass(frozen=True)
class WholeNumber:
    """The numbers that a key may have. As a string it continues an error: "is not a whole number ..."."""

    lowest: int
    highest: int
    note: str = ""
    """Another way to say ``highest``."""
    zero: str = ""
    """What 0 means, if 0 is allowed as well; otherwise empty."""
    why: str = ""

    def has(self, value: int) -> bool:
        return self.lowest <= value <= self.highest or (value == 0 and bool(self.zero))

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        zero = f", or 0 for {self.zero}" if self.zero else ""
        why = f"; {self.why}" if self.why else ""
        return f"from {self.lowest} to {self.highest}{note}{zero}{why}"


@dataclass(frozen=True)
class Section:
    """One table. ``env(NAME)`` in strings is replaced as they are read."""

    document: _Document
    path: tuple[str, ...]
    values: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def error(self, key: str, problem: str, *, files: tuple[Path, ...] = ()) -> ConfigError:
        """An error about ``key`` of this table, to be raised by the caller. ``files``: as in ConfigError."""
        return ConfigError(f"{self.where(key)}: {problem}", files=files)

    def where(self, key: str) -> str:
        """File, line and key: the beginning of every text about a key."""
        path = (*self.path, key)
        dotted = ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in path)
        return f"{self.document.where(path)}: {dotted}"

    def only(self, known: Collection[str]) -> None:
        """Refuses a key that is not among ``known``."""
        for key in self.values:
            if key not in known:
                near = _near(key, known)
                hint = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
                raise self.error(key, f"there is no such key; {hint}")

    def misspelt(self, known: Collection[str], others: Collection[str] = ()) -> Iterator[str]:
        """A warning for each key that resembles one of ``known``, and is neither among them nor among ``others``."""
        for key in self.values:
            if key not in known and key not in others and (near := _near(key, known)):
                yield f"{self.where(key)}: is ignored: Outlast knows no such key; did you mean {near}?"

    def table(self, key: str) -> "Section":
        """The table under ``key``; empty if it is absent."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"{_shown(value)} is not a table")
        return Section(self.document, (*self.path, key), value)

    def tables(self) -> Iterator[tuple[str, "Section"]]:
        """The tables in this table, by name."""
        return ((key, self.table(key)) for key in self.values)

    def flag(self, key: str, *, default: bool) -> bool:
        """A boolean; from ``env(NAME)`` it is spelled true, false, 1 or 0."""
        value = self.values.get(key, default)
        if isinstance(value, str) and _ENV.fullmatch(value):
            value = _FLAGS.get((text := self._resolved(key, value)).lower(), text)
        if not isinstance(value, bool):
            raise self.error(key, f"{_shown(value)} is not true or false")
        return value

    def number(self, key: str, allowed: WholeNumber, *, default: _Default) -> int | _Default:
        """A whole number; from ``env(NAME)`` it is written in digits."""
        if key not in self.values:
            return default
        value = self.values[key]
        if isinstance(value, str) and _ENV.fullmatch(value):
            text = self._resolved(key, value)
            value = int(text) if _DIGITS.fullmatch(text) else text
        # bool is an int in Python, but `true` is no number in TOML.
        if isinstance(value, bool) or not isinstance(value, int) or not allowed.has(value):
            raise self.error(key, f"{_shown(value)} is not a whole number {allowed}")
        return value

    def text(self, key: str, *, private: bool = False) -> str | None:
        """A string, or None if the key is absent. What is ``private`` is never shown in an error."""
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, str):
            raise self.error(key, "must be a string" if private else f"{_shown(value)} is not a string")
        return self._resolved(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings; empty if the key is absent."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"{_shown(value)} is not an array of strings")
        for item in value:
            if not isinstance(item, str):
                raise self.error(key, f"{_shown(item)} in this array is not a string")
        return tuple(self._resolved(key, item) for item in value)

    def choice(self, key: str, choices: type[_Choice]) -> _Choice | None:
        """One of ``choices``, or None if the key is absent."""
        value = self.text(key) if isinstance(self.values.get(key), str) else self.values.get(key)
        if value is None:
            return None
        for choice in choices:
            if value == choice.value:
                return choice
        raise self.error(key, f"{_shown(value)} is not one of {', '.join(choices)}")

    def secret(self, key: str) -> str | None:
        """A string that is never shown in an error; None if its ``env(NAME)`` is not set."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.error(key, "must be a string")
        if reference := _ENV.fullmatch(value):
            return self.document.environment.get(reference[1])
        return value

    def _resolved(self, key: str, value: str) -> str:
        reference = _ENV.fullmatch(value)
        if not reference:
            return value
        found = self.document.environment.get(reference[1])
        if found is None:
            environment = self.document.environment
            hint = f"set {reference[1]} {environment.hint}"
            raise self.error(key, f"env({reference[1]}) is not set; {hint}", files=tuple(environment.consulted))
        return found


def _near(key: str, known: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(key, known, n=1)), None)


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return repr(value)
        case dict():
            return "a table"
        case list():
            return "an array"
    return str(value)
