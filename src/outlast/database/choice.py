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
    # No password is shown.
    shown = repr(database.rpartition("@")[2])
    try:
        url = urlsplit(database)
        for host in url.netloc.rpartition("@")[2].split(","):
            # uvloop takes a port as modulo 65536. This raises ValueError for one that is out of range.
            _ = urlsplit(f"//{host}").port
    except ValueError as error:
        raise OutlastError(f"{shown} is no URL: {error}") from error
    if url.scheme not in SCHEMES:
        raise OutlastError(f"{shown} is neither embedded nor off nor a URL that begins with postgresql://")
