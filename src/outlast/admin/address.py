"""The address of the admin API, as it is asked for."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 54323


@dataclass(frozen=True)
class Address:
    """``--admin-host`` and what goes with it."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None: `DEFAULT_PORT`, or any that is free if that is taken. 0: any that is free."""
    certificate: Path | None = None
    key: Path | None = None
    """Where it is not in the file of the certificate."""
    allow_plain: bool = False
    """Without TLS off loopback."""

    @property
    def scheme(self) -> str:
        return "https" if self.certificate is not None else "http"

    @property
    def names(self) -> Collection[str]:
        """What it may be called by, besides addresses and ``localhost``."""
        return () if is_address(self.host) else (self.host,)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
