"""Puts the admin API together: HTTP, then the check who may ask, then the endpoints."""

import asyncio
import contextlib
from collections.abc import Collection

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from outlast.admin.access import Access
from outlast.admin.api import api
from outlast.admin.node import Node

CLOSE_S = 1.0
KEEP_ALIVE_S = 30
MAX_HEAD_BYTES = 64 * 1024
MAX_SILENT = 100
"""Connections that have not asked anything yet. Beyond that the oldest ends: whoever has the token asks at once, and
each takes a file from those that the node may open."""


class _Connection(HttpToolsProtocol):
    """Bounds what clients without the token can take; `Access` ends a connection that it has refused something.

    uvicorn reads heads of any length, and waits for them for ever.
    """

    def __init__(self, config: Config, state: ServerState, silent: "dict[_Connection, None]") -> None:
        """``silent``: those that have not asked anything yet, oldest first."""
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._silent = silent
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._silent[self] = None
        if len(self._silent) > MAX_SILENT:
            next(iter(self._silent)).leave()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self in self._silent:
            self._head_bytes += len(data)
            if self.cycle is not None:
                del self._silent[self]
            elif self._head_bytes > MAX_HEAD_BYTES:
                self.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent.pop(self, None)
        super().connection_lost(exc)

    def leave(self) -> None:
        self._silent.pop(self)
        self.transport.abort()


class Answering:
    """Answers the connections to `outlast.admin.server.Server`."""

    def __init__(self, node: Node, *, token: str, scheme: str, names: Collection[str], loopback: bool) -> None:
        self._config = Config(
            Access(api(node), token=token, scheme=scheme, names=names, loopback=loopback),
            http=HttpToolsProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            # It would write to stderr what is wrong with requests of anybody.
            log_level="error",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()
        self._silent: dict[_Connection, None] = {}

    def connection(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return _Connection(self._config, self._state, self._silent)

    async def close(self) -> None:
        """Answers the requests that are being handled, then closes every connection."""
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
