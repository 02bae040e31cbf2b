"""The worker's end of a lane (`outlast.wire.lanes`)."""

import asyncio
from collections.abc import Callable
from typing import cast

from outlast.wire import lanes

_header = lanes.HEADER.pack


class Lane(asyncio.Protocol):
    """A connection of the node, which may turn out to be that of one of the ``connections`` of another lane.

    ``serve`` makes the protocol of each connection. All lanes of a worker share ``connections``.
    """

    def __init__(self, connections: "dict[int, Connection]", serve: Callable[[], asyncio.Protocol]) -> None:
        self.loop = asyncio.get_running_loop()
        self.connections = connections
        self._serve = serve
        self._transport: asyncio.Transport
        self._frames = lanes.Frames()
        self.write: Callable[[bytes], None]
        self.is_closing: Callable[[], bool]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write, self.is_closing = self._transport.write, self._transport.is_closing

    def data_received(self, data: bytes) -> None:
        connections = self.connections
        for kind, number, content in self._frames.feed(data):
            connection = connections.get(number)
            if kind == lanes.MOVE:
                self._move(connection)
            elif content:
                if connection is None:
                    if kind == lanes.REST:
                        # The application has ended it, and did not want to hear the rest of the request.
                        continue
                    connection = connections[number] = Connection(self, number, self._serve())
                connection.receive(content, begins=kind == lanes.DATA)
            elif connection is not None:
                connection.end()

    def connection_lost(self, exc: Exception | None) -> None:
        for connection in [*self.connections.values()]:
            if connection.lane is self:
                connection.end()

    def _move(self, connection: "Connection | None") -> None:
        if connection is None:
            # The node has closed it before it knew that it was to be moved.
            self._transport.abort()
        else:
            connection.move(self._transport)


class Connection(asyncio.Transport):
    __slots__ = ("_closing", "_number", "_protocol", "_room", "_waiting", "lane")

    def __init__(self, lane: Lane, number: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.lane = lane
        self._number = number
        self._protocol = protocol
        self._room = 0
        """Bytes of the response that may still be sent on the lane."""
        self._waiting: list[bytes | bytearray | memoryview] = []
        """What is to be sent once it has moved."""
        self._closing = False
        protocol.connection_made(self)

    def is_closing(self) -> bool:
        return self._closing or self.lane.is_closing()

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        size = len(data)
        if self._closing or not size:
            return
        if size <= self._room:
            self._room -= size
            self.lane.write(_header(lanes.DATA, self._number, size) + data)
            return
        if not self._waiting:
            self._room = 0
            self.lane.write(_header(lanes.MOVE, self._number, 0))
            self._protocol.pause_writing()
        self._waiting.append(data)

    def close(self) -> None:
        """Closes it behind what was written."""
        if self._closing:
            return
        self._closing = True
        if not self._waiting:
            self.lane.write(_header(lanes.CLOSE, self._number, 0))
            self._forget()
            self.lane.loop.call_soon(self._protocol.connection_lost, None)

    # For the lane.

    def receive(self, content: bytes, begins: bool) -> None:
        """``begins``: a request begins with it."""
        if begins:
            self._room = lanes.MAX_ON_LANE
        self._protocol.data_received(content)

    def move(self, transport: asyncio.Transport) -> None:
        """From now on this is its transport."""
        self._forget()
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        self._protocol.resume_writing()
        transport.writelines(self._waiting)
        if self._closing:
            transport.close()

    def end(self) -> None:
        """The node has closed it."""
        self._closing = True
        self._forget()
        self._protocol.connection_lost(None)

    def _forget(self) -> None:
        del self.lane.connections[self._number]
