"""JSON as Deno takes it in its configuration files: with comments and trailing commas."""

import re
from pathlib import Path
from typing import Any

import msgspec

from outlast.core.errors import OutlastError

# Strings are matched as well, so that nothing in them is taken for one.
_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)


class SettingsError(OutlastError):
    """A deno.json, import map or package.json that cannot be used."""


def read(file: Path) -> dict[str, Any]:
    """The object in ``file``. Raises `SettingsError`."""
    try:
        text = file.read_text("utf-8")
        # In this order: a comment may stand between a comma and what makes it a trailing one.
        value = msgspec.json.decode(_without(_TRAILING_COMMA, _without(_COMMENT, text)))
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SettingsError(f"{file}: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{file}: not a JSON object")
    return value


def _without(unwanted: re.Pattern[str], text: str) -> str:
    return unwanted.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
