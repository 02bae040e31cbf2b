"""The values of ``--database``."""

from urllib.parse import urlsplit

from outlast.core.errors import OutlastError

EMBEDDED, OFF = "embedded", "off"
"""Besides a URL."""
SCHEMES = ("postgres", "postgresql")


def check(database: str) -> None:
    """Raises OutlastError for what it cannot be."""
    if database in (EMBEDDED, OFF):
        return
    try:
        scheme = urlsplit(database).scheme
    except ValueError as error:
        raise OutlastError(f"{database!r} is no URL: {error}") from error
    if scheme not in SCHEMES:
        raise OutlastError(f"{database!r} is neither embedded nor off nor a URL that begins with postgresql://")
