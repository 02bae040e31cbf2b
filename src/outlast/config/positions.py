"""Finds the line of each key in a TOML document.

``tomllib`` gives values without positions, and an error that does not name its line sends the user searching.
``tomllib`` has accepted the text before it comes here, so this scan need not detect mistakes.
"""

import re
import tomllib
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the root down; an ``int`` is the index of an ``[[array of tables]]`` element."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""(?:[^\]="']|"(?:\\.|[^"\\])*"|'[^']*')+""")
_VALUE_TOKEN = re.compile(
    r'''
      """(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?'{3,5}   # multi-line strings may end in up to five quotes
    | "(?:\\.|[^"\\])*" | '[^']*'
    | \#[^\n]* | [\[{] | [\]}] | \n
    | [^"'\#\[\]{}\n]+
    ''',
    re.DOTALL | re.VERBOSE,
)


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """Maps every key path of a valid TOML document to its line, the first line being 1.

    Keys inside an inline table or an array are not listed; the line of that table or array stands for them. A table
    that several headers share (``[a.b]``, ``[a.c]``) has the line where it is first named.
    """
    lines: dict[KeyPath, int] = {}
    array_sizes: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position = _end(_BLANK, text, 0)
    line, counted_to = 1, 0
    while position < len(text):
        line += text.count("\n", counted_to, position)
        counted_to = position
        brackets = 2 if text.startswith("[[", position) else int(text.startswith("[", position))
        key_end = _end(_KEY, text, position + brackets)
        keys = _split(text[position + brackets : key_end])
        if brackets:
            table = _descend((), keys, array_sizes, new_element=brackets == 2)
            _note(lines, table, line)
            position = key_end + brackets
        else:
            _note(lines, _descend(table, keys, array_sizes), line)
            position = _value_end(text, key_end + 1)
        position = _end(_BLANK, text, position)
    return lines


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _split(key: str) -> list[str]:
    # Quoting, escapes and dots of a key are the TOML parser's business: let it read the key alone.
    keys: list[str] = []
    value: object = tomllib.loads(f"{key.strip()} = 0")
    while isinstance(value, dict):
        [(name, value)] = value.items()
        keys.append(name)
    return keys


def _descend(start: KeyPath, keys: list[str], array_sizes: dict[KeyPath, int], *, new_element: bool = False) -> KeyPath:
    """Follows ``keys``; a key that names an array of tables means its newest element."""
    path = start
    for depth, key in enumerate(keys, 1):
        path = (*path, key)
        if new_element and depth == len(keys):
            array_sizes[path] = array_sizes.get(path, 0) + 1
        if path in array_sizes:
            path = (*path, array_sizes[path] - 1)
    return path


def _note(lines: dict[KeyPath, int], path: KeyPath, line: int) -> None:
    for depth in range(1, len(path) + 1):
        lines.setdefault(path[:depth], line)


def _value_end(text: str, position: int) -> int:
    depth = 0
    for token in _VALUE_TOKEN.finditer(text, position):
        match token.group()[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case "\n" if depth == 0:
                return token.start()
    return len(text)
