"""The address that the admin API was asked to listen on."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 54323


@dataclass(frozen=True)
class Address:
    """``--admin-host`` and the options that go with it."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None: `DEFAULT_PORT`, or any free port if that is taken. 0: any free port."""
    certificate: Path | None = None
    key: Path | None = None
    """The key, if it is not in the certificate's file."""
    allow_plain: bool = False
    """Whether to listen beyond loopback without TLS."""

    @property
    def scheme(self) -> str:
        return "https" if self.certificate is not None else "http"

    @property
    def names(self) -> Collection[str]:
        """Host names accepted besides IP addresses and ``localhost``."""
        return () if is_address(self.host) else (self.host,)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
