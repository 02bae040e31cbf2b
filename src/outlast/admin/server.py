"""Where the admin API listens."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from outlast.core.errors import OutlastError

DEFAULT_PORT = 54323
CLOSE_S = 1.0
KEEP_ALIVE_S = 30


class CannotListen(OutlastError):
    """The admin API has no address to listen on, or must not listen on this one."""


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
        return () if _is_address(self.host) else (self.host,)


class Server:
    """Listens from `listen` on, answers from `serve` on."""

    def __init__(self, listening: socket.socket, address: Address, tls: ssl.SSLContext | None) -> None:
        host, port = listening.getsockname()[:2]
        self.took_another_port = address.port is None and port != DEFAULT_PORT
        self.loopback = ipaddress.ip_address(host).is_loopback
        name = _reachable(host) if _is_address(address.host) else address.host
        self.url = f"{address.scheme}://{f'[{name}]' if ':' in name else name}:{port}"
        self._listening = listening
        self._tls = tls
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    @classmethod
    async def listen(cls, address: Address) -> "Server":
        """Raises `CannotListen`."""
        tls = _tls(address)
        family, where = await _resolved(address.host)
        if not ipaddress.ip_address(where).is_loopback and tls is None and not address.allow_plain:
            raise CannotListen(
                f"--admin-host={address.host}: whoever hears the token may do everything; give --admin-tls-cert, or "
                "--admin-allow-plain where nobody can listen in"
            )
        ports = [DEFAULT_PORT, 0] if address.port is None else [address.port]
        for port in ports:
            listening = socket.socket(family, socket.SOCK_STREAM)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((where, port))
                listening.listen(128)
            except OSError as error:
                listening.close()
                if error.errno == errno.EADDRINUSE and port != ports[-1]:
                    continue
                raise CannotListen(_why_not(address.host, port, error)) from error
            listening.setblocking(False)
            return cls(listening, address, tls)
        raise AssertionError("the last port was either taken or raised")

    async def serve(self, app: ASGIApp) -> None:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()

        def connection() -> HttpToolsProtocol:
            return HttpToolsProtocol(config, self._state, {}, loop)

        self._server = await loop.create_server(connection, sock=self._listening, ssl=self._tls)

    async def close(self) -> None:
        """Answers what was asked, then closes every connection."""
        if self._server is None:
            self._listening.close()
            return
        self._server.close()
        for connection in [*self._state.connections]:
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
        for connection in [*self._state.connections]:
            if connection.transport is not None:
                connection.transport.abort()
        for task in [*self._state.tasks]:
            task.cancel()


async def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    """The first address of a name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"--admin-host={host}: {error.strerror or error}") from error
    return found[0][0], str(found[0][4][0])


def _tls(address: Address) -> ssl.SSLContext | None:
    if address.certificate is None:
        if address.key is not None:
            raise CannotListen("--admin-tls-key goes with --admin-tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(address.certificate, address.key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(f"--admin-tls-cert={address.certificate}: cannot be used: {error}") from error
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _reachable(host: str) -> str:
    """An address that a client on this machine can use."""
    if ipaddress.ip_address(host).is_unspecified:
        return "::1" if ":" in host else "127.0.0.1"
    return host


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port} is in use by another program; choose another port with --admin-port (0: any free one)"
    return f"the admin API cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"
