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
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()

    def connection(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return HttpToolsProtocol(self._config, self._state, {}, asyncio.get_running_loop())

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
