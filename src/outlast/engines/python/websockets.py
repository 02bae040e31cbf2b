"""WebSockets of ASGI applications: uvicorn serves them, on connections that the worker's own server hands over."""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from outlast.engines.python.gate import Gate

_logger = logging.getLogger("outlast.websockets")
"""For what uvicorn has to say, which writes to a logger that applications use, too: other errors than those that an
application raises, which the gate logs."""
_logger.setLevel(logging.ERROR)
_logger.addFilter(lambda record: not record.exc_info)


class WebSockets:
    def __init__(self, gate: Gate, loop: asyncio.AbstractEventLoop) -> None:
        self._gate = gate
        self._loop = loop
        self._config = uvicorn.Config(
            gate, ws="websockets-sansio", interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        self._config.load()
        self._server = ServerState()

    def take_over(self, transport: asyncio.Transport, data: bytes, request_id: str) -> None:
        """``data``: everything that has come on the connection, which is a WebSocket request with this id."""
        protocol = _Protocol(self._config, self._server, self._gate.state, self._loop)
        protocol.logger = protocol.conn.logger = _logger
        protocol.on_lost = functools.partial(self._gate.lost, request_id)
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        protocol.data_received(data)


class _Protocol(WebSocketsSansIOProtocol):
    on_lost: Callable[[], None]
    """The node speaks only of clients that leave before the connection is closed."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # uvicorn would log that there is none, although the application has refused it as ASGI lets it.
            self.handshake_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.on_lost()
