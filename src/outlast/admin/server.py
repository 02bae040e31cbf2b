"""The listening socket of the admin API."""

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from outlast.admin.address import DEFAULT_PORT, Address, is_address
from outlast.config.address import url
from outlast.core.errors import OutlastError

if TYPE_CHECKING:
    from outlast.admin.answering import Answering


HANDSHAKE_S = 10.0
"""Until then, a client that begins no TLS takes a file from those that the node may open."""


class CannotListen(OutlastError):
    """The admin API has no address to listen on, or must not listen on this one."""


class Server:
    """Listens from `listen` on, answers from `serve` on.

    The code that answers is loaded on the first connection: it takes longer to load than the rest of a node, and many
    nodes are never asked anything.
    """

    def __init__(self, listening: socket.socket, address: Address, tls: ssl.SSLContext | None) -> None:
        host, port = listening.getsockname()[:2]
        self.took_another_port = address.port is None and port != DEFAULT_PORT
        self.loopback = ipaddress.ip_address(host).is_loopback
        self.url = url(host if is_address(address.host) else address.host, port, address.scheme)
        self._listening = listening
        self._tls = tls
        self._opening: asyncio.Task[None] | None = None
        self._answering: Answering | None = None
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

    def serve(self, load: Callable[[], Awaitable["Answering"]]) -> None:
        """From now on connections are answered. ``load`` is called once, on the first connection."""
        self._opening = asyncio.create_task(self._open(load), name="open the admin API")
        # Nobody waits for the task, so its exceptions must reach the event loop's handler.
        self._opening.add_done_callback(lambda task: task.cancelled() or task.result())

    async def _open(self, load: Callable[[], Awaitable["Answering"]]) -> None:
        await _readable(self._listening)
        self._answering = answering = await load()
        self._server = await asyncio.get_running_loop().create_server(
            answering.connection,
            sock=self._listening,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_S if self._tls is not None else None,
        )

    async def close(self) -> None:
        """Answers the requests that are being handled, then closes every connection."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._server is None:
            self._listening.close()
        else:
            self._server.close()
        if self._answering is not None:
            await self._answering.close()


async def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    """The first address of a name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"--admin-host={host}: {error.strerror or error}") from error
    return found[0][0], str(found[0][4][0])


async def _readable(listening: socket.socket) -> None:
    """Waits for the first connection."""
    loop = asyncio.get_running_loop()
    wanted = asyncio.Event()
    loop.add_reader(listening, wanted.set)
    try:
        await wanted.wait()
    finally:
        loop.remove_reader(listening)


def _tls(address: Address) -> ssl.SSLContext | None:
    if address.certificate is None:
        if address.key is not None:
            raise CannotListen("--admin-tls-key goes with --admin-tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(address.certificate, address.key)
    except OSError as error:
        raise CannotListen(f"--admin-tls-cert={address.certificate}: cannot be used: {error}") from error
    return context


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port} is in use by another program; choose another port with --admin-port (0: any free one)"
    return f"the admin API cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"
