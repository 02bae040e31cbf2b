"""The listening socket, and the connections that came in by it."""

import asyncio
import errno
import os

from outlast.core.errors import OutlastError
from outlast.gateway.connection import Connection
from outlast.gateway.ports import Ports


class ListenError(OutlastError):
    """The address cannot be listened on."""


class _Connections(set[Connection]):
    """Those that are open. Each enters and leaves by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()
        """Set whenever one has left."""

    def discard(self, element: object) -> None:
        super().discard(element)
        self.left.set()


class Gateway:
    """An HTTP/1.1 server in front of the services in ``ports``."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._connections = _Connections()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Starts to accept. Returns the address in use (``port`` 0 takes any that is free). Raises `ListenError`."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._ports, self._connections), host, port, backlog=1024
            )
        except OSError as error:
            raise ListenError(_why_not(host, port, error)) from error
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def close(self) -> None:
        """Accepts no more. Idle connections end now, the others when the answer that is under way is complete."""
        if self._server is None:
            return
        self._server.close()
        for connection in [*self._connections]:
            connection.finish()

    async def wait_closed(self) -> None:
        """Until the last connection has ended, after `close`."""
        while self._connections:
            self._connections.left.clear()
            await self._connections.left.wait()

    def abort(self) -> None:
        """Cuts every connection that is left."""
        for connection in [*self._connections]:
            connection.abort()


def _why_not(host: str, port: int, error: OSError) -> str:
    # uvloop wraps the message; the number is what is reliable.
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port} is in use by another program; choose another port with --port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"{host}:{port} may not be listened on by this user; choose a port above 1023 with --port"
    # Of a name that cannot be resolved it is no errno, but below 0 (getaddrinfo(3)).
    words = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)
    return f"cannot listen on {host}:{port}: {words}"
