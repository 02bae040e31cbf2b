"""The values of ``--database``."""

import re
from urllib.parse import urlsplit

from outlast.core.errors import OutlastError

EMBEDDED, OFF = "embedded", "off"
"""Besides a URL."""
SCHEMES = ("postgres", "postgresql")
_AS_IT_IS = re.compile("://.*[/?#@[\\]].*@")
"""Something before the last @ that ends the user and the password of a URL earlier."""


def check(database: str) -> None:
    """Raises OutlastError for what it cannot be."""
    if database in (EMBEDDED, OFF):
        return
    # No password is shown.
    shown = repr(database.rpartition("@")[2])
    try:
        url = urlsplit(database)
        ends_early = url.netloc.count("@") > 1 or "@" in url.path + url.fragment
        for host in url.netloc.rpartition("@")[2].split(","):
            # uvloop takes a port as modulo 65536. This raises ValueError for one that is out of range.
            _ = urlsplit(f"//{host}").port
    except ValueError as error:
        ends_early = _AS_IT_IS.search(database) is not None
        if not ends_early:
            raise OutlastError(f"{shown} is no URL: {error}") from error
    if ends_early:
        raise OutlastError(
            f"what stands before {shown} cannot be told apart: in a user or password write @ as %40, / as %2F, "
            "? as %3F, # as %23, [ as %5B and ] as %5D; or leave the password out, and set PGPASSWORD"
        )
    if url.scheme not in SCHEMES:
        raise OutlastError(f"{shown} is neither embedded nor off nor a URL that begins with postgresql://")


def each_host(url: str) -> list[str]:
    """The URL with each of its hosts alone."""
    user, at, hosts = urlsplit(url).netloc.rpartition("@")
    return [url.replace(f"{user}{at}{hosts}", f"{user}{at}{host}", 1) for host in hosts.split(",")]
