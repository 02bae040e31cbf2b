"""The languages a function can be written in."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Language(StrEnum):
    """Decides which engine runs a function."""

    TYPESCRIPT = "typescript"
    """TypeScript and JavaScript alike."""
    PYTHON = "python"


BY_SUFFIX: Mapping[str, Language] = MappingProxyType(
    {
        ".ts": Language.TYPESCRIPT,
        ".tsx": Language.TYPESCRIPT,
        ".mts": Language.TYPESCRIPT,
        ".js": Language.TYPESCRIPT,
        ".jsx": Language.TYPESCRIPT,
        ".mjs": Language.TYPESCRIPT,
        ".py": Language.PYTHON,
    }
)
"""The language of a file, by its suffix. A file with any other suffix is data."""
