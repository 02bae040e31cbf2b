"""The user's files: the text of those that settings come from, and where links lead."""

import os
from pathlib import Path

from outlast.config.errors import ConfigError


def read_text(path: Path, shown: str) -> str | None:
    """The file's text with ``\\n`` line ends, or None where there is no such file.

    ``shown`` is the file's name in the ConfigError for one that cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: is not UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        # ValueError: no path can hold a NUL.
        raise ConfigError(f"{shown}: cannot be read: {getattr(error, 'strerror', error)}") from error


def resolved(path: Path) -> Path:
    """The path with its links resolved, as far as they lead anywhere.

    `Path.resolve` raises RuntimeError for a link that leads to itself, before Python 3.13.
    """
    return Path(os.path.realpath(path))
