"""The listening socket and its connections."""

import asyncio
import errno
import os
import socket
from functools import partial

from outlast.core.errors import OutlastError
from outlast.gateway.connection import Connection
from outlast.gateway.ports import Ports


class ListenError(OutlastError):
    """The address cannot be listened on."""


class _Connections(set[Connection]):
    """The open connections. Each adds and removes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()
        """Set whenever one has left."""
        self._are_finishing = False

    def add(self, element: Connection) -> None:
        super().add(element)
        if self._are_finishing:
            # It was accepted before, but the event loop had other things to do first.
            element.finish()

    def finish(self) -> None:
        """Has each end as soon as it can, those included that are still to come."""
        self._are_finishing = True
        for connection in [*self]:
            connection.finish()

    def discard(self, element: object) -> None:
        super().discard(element)
        self.left.set()


class Gateway:
    """An HTTP/1.1 server in front of the services in ``ports``."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._connections = _Connections()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int, opened: socket.socket | None = None) -> tuple[str, int]:
        """Starts accepting. Returns host and port (``port`` 0: any free one). Raises `ListenError`.

        With ``opened``, a socket that listens already, host and port are those of that one.
        """
        create_server = partial(asyncio.get_running_loop().create_server, self._connection, backlog=1024)
        try:
            self._server = await (create_server(host, port) if opened is None else create_server(sock=opened))
        except OSError as error:
            raise ListenError(_why_not(host, port, error)) from error
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    def _connection(self) -> Connection:
        return Connection(self._ports, self._connections)

    async def close(self) -> None:
        """Accepts no more. Idle connections end now, the others when their present response is complete.

        Clients that have connected by now are accepted, and requests that they have sent are read.
        """
        if self._server is None:
            return
        # In each turn the event loop takes what the kernel has for it: first connections, then requests on them.
        await asyncio.sleep(0)
        self._server.close()
        await asyncio.sleep(0)
        self._connections.finish()

    async def wait_closed(self) -> None:
        """Waits until the last connection has ended, after `close`."""
        while self._connections:
            self._connections.left.clear()
            await self._connections.left.wait()

    def abort(self) -> None:
        """Cuts all connections that are left."""
        for connection in [*self._connections]:
            connection.abort()


def _why_not(host: str, port: int, error: OSError) -> str:
    # uvloop wraps the message; the number is what is reliable.
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port} is in use by another program; choose another port with --port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"{host}:{port} may not be listened on by this user; choose a port above 1023 with --port"
    # For a name that cannot be resolved, it is no errno, but less than 0 (getaddrinfo(3)).
    words = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)
    return f"cannot listen on {host}:{port}: {words}"
