"""What the text of an error says: its type and its message, as each language writes them."""

import re
from typing import NamedTuple

from outlast.core.language import Language
from outlast.core.records import gist

_NAMED = re.compile(r"([A-Za-z_$][\w$.]*)(?:: (.*))?")
_FRAME = "    at "


class Raised(NamedTuple):
    type: str
    """Empty where the text does not say it: in JavaScript any value can be thrown."""
    message: str
    text: str

    @property
    def attributes(self) -> dict[str, str]:
        """Of the event ``exception`` of a span."""
        given = {"exception.type": self.type, "exception.message": self.message, "exception.stacktrace": self.text}
        return {name: value for name, value in given.items() if value}


def read(language: Language, text: str) -> Raised:
    """Reads what a worker says of an error, its stack included."""
    lines = text.splitlines() or [""]
    line = gist(text) if language is Language.PYTHON else lines[0]
    found = _NAMED.fullmatch(line)
    if found is not None and (language is Language.PYTHON or _is_error(found[1], lines)):
        return Raised(found[1], found[2] or "", text)
    return Raised("", line, text)


def _is_error(name: str, lines: list[str]) -> bool:
    """Or else text that was thrown."""
    return name.endswith(("Error", "Exception")) or any(line.startswith(_FRAME) for line in lines)
