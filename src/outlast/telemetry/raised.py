"""Finds type and message in the text of an error, as each language writes it."""

import re
from typing import NamedTuple

from outlast.core.language import Language
from outlast.core.stacks import gist

_NAMED = re.compile(r"([A-Za-z_$][\w$.]*)(?:: (.*))?")
_FRAME = "    at "


class Raised(NamedTuple):
    type: str
    """Empty if the text does not name one: in JavaScript any value can be thrown."""
    message: str
    text: str

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes for the event ``exception`` of a span."""
        given = {"exception.type": self.type, "exception.message": self.message, "exception.stacktrace": self.text}
        return {name: value for name, value in given.items() if value}


def read(language: Language, text: str) -> Raised:
    """Reads an error with its stack, as a worker reports it."""
    lines = text.splitlines() or [""]
    line = gist(text) if language is Language.PYTHON else lines[0]
    found = _NAMED.fullmatch(line)
    if found is not None and (language is Language.PYTHON or _is_error(found[1], lines)):
        return Raised(found[1], found[2] or "", text)
    return Raised("", line, text)


def _is_error(name: str, lines: list[str]) -> bool:
    """Whether it is an error, rather than a text that was thrown."""
    return name.endswith(("Error", "Exception")) or any(line.startswith(_FRAME) for line in lines)
