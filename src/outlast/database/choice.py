"""The values of ``--database``."""

from urllib.parse import urlsplit

from outlast.core.errors import OutlastError

EMBEDDED, OFF = "embedded", "off"
"""Besides a URL."""
SCHEMES = ("postgres", "postgresql")


def check(database: str) -> None:
    """Raises OutlastError for what it cannot be."""
    if database not in (EMBEDDED, OFF) and urlsplit(database).scheme not in SCHEMES:
        raise OutlastError(f"{database!r} is neither embedded nor off nor a URL that begins with postgresql://")
