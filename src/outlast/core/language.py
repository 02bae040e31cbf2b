"""The languages a function can be written in."""

from enum import StrEnum


class Language(StrEnum):
    """Decides which engine runs a function."""

    TYPESCRIPT = "typescript"
    """TypeScript and JavaScript alike."""
    PYTHON = "python"
