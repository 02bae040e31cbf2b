"""Where functions are called unless the command line says otherwise: as with Supabase's own command line."""

import errno
import socket

HOST = "127.0.0.1"
PORT = 54321
URL = f"http://{HOST}:{PORT}"

_MEANS_ALL = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104, not listened on


def url(host: str, port: int, scheme: str = "http") -> str:
    """The URL of a server that listens there, for clients on this machine."""
    host = _MEANS_ALL.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_free(port: int) -> bool:
    """Whether a server on loopback may have it. Raises OSError where this user may not listen at all."""
    with socket.socket() as probe:
        # As PostgreSQL and Deno do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
