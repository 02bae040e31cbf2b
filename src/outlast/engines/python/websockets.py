"""WebSockets of ASGI applications: uvicorn serves them, on connections that the worker's own server hands over."""

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

    from outlast.engines.python.gate import Gate

_logger = logging.getLogger("outlast.websockets")
"""For what uvicorn has to say, which writes to a logger that applications use, too: other errors than those that an
application raises, which the gate logs."""
_logger.setLevel(logging.ERROR)
_logger.addFilter(lambda record: not record.exc_info)


class WebSockets:
    def __init__(self, gate: "Gate", loop: asyncio.AbstractEventLoop) -> None:
        self._gate = gate
        self._loop = loop

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """``data``: everything that has come on the connection, which is a WebSocket request."""
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

        config, state = self._uvicorn
        protocol = WebSocketsSansIOProtocol(config, state, self._gate.state, self._loop)
        protocol.logger = protocol.conn.logger = _logger
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        protocol.data_received(data)

    @functools.cached_property
    def _uvicorn(self) -> "tuple[uvicorn.Config, ServerState]":
        # Few functions use WebSockets; the others need not wait for this to be loaded.
        import uvicorn
        from uvicorn.server import ServerState

        config = uvicorn.Config(
            self._gate, ws="websockets-sansio", interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        config.load()
        return config, ServerState()
