"""The node's end of a lane (`outlast.wire.lanes`) to a worker."""

import asyncio
from collections.abc import Callable
from typing import cast

from outlast.wire import lanes

_header = lanes.HEADER.pack


class Lane(asyncio.Protocol):
    """Connections to a worker, each of which is the transport of a protocol of its own.

    ``on_failure`` is told why the lane was closed, because the worker did not keep to the rules, or one of them.
    """

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.path = ""
        self.on_failure = on_failure
        self._transport: asyncio.Transport | None = None
        self._frames = lanes.Frames()
        self._connections: dict[int, Connection] = {}
        self._latest = 0
        self.write: Callable[[bytes], None]
        self.is_closing: Callable[[], bool]
        self.is_clear = False
        """Whether it is open, and nothing that was written waits to be sent: the worker has read nearly all of it."""

    async def connect(self, path: str) -> None:
        """Raises OSError; FileNotFoundError if the worker has no lane."""
        self.path = path
        await self.loop.create_unix_connection(lambda: self, path)

    def open(self, protocol: asyncio.Protocol) -> None:
        """Opens a connection for it. The lane must be clear."""
        self._latest += 1
        connection = self._connections[self._latest] = Connection(self, self._latest, protocol)
        protocol.connection_made(connection)

    def close(self) -> None:
        self.is_clear = False
        if self._transport is not None:
            self._transport.abort()

    def forget(self, number: int) -> None:
        """The connection with this number has ended, or does not use the lane any more."""
        del self._connections[number]

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self.write, self.is_closing = self._transport.write, self._transport.is_closing
        self.is_clear = True

    def pause_writing(self) -> None:
        self.is_clear = False

    def resume_writing(self) -> None:
        self.is_clear = not self.is_closing()

    def data_received(self, data: bytes) -> None:
        connections = self._connections
        try:
            for kind, number, content in self._frames.feed(data):
                # The worker may not know yet that a connection is closed.
                if (connection := connections.get(number)) is not None:
                    if content:
                        connection.receive(content)
                    else:
                        connection.receive_last(kind)
        except lanes.BrokenFrame as error:
            self.on_failure(str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_clear = False
        for connection in [*self._connections.values()]:
            connection.receive_last(lanes.CLOSE)


class Connection(asyncio.Transport):
    __slots__ = ("_closed", "_held", "_lane", "_last", "_moving", "_number", "_paused", "_protocol", "_received")

    def __init__(self, lane: Lane, number: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._lane = lane
        self._number = number
        self._protocol = protocol
        self._received = 0
        """Bytes, since something was sent."""
        self._paused = False
        self._held = bytearray()
        """What has come while it was paused, and was not passed on since."""
        self._last: int | None = None
        """The kind of frame that came behind that, and behind which none may come."""
        self._moving: asyncio.Task[None] | None = None
        self._closed = False

    def is_closing(self) -> bool:
        # What is held outlives the lane.
        return self._closed or (not self._held and self._lane.is_closing())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closed:
            self._received = 0
            self._lane.write(_header(lanes.DATA, self._number, len(data)) + data)

    def get_write_buffer_size(self) -> int:
        """What waits here waits for the whole lane."""
        return 0

    def abort(self) -> None:
        if not self._closed:
            if not self._lane.is_closing():
                self._lane.write(_header(lanes.CLOSE, self._number, 0))
            self._lane.loop.call_soon(self._protocol.connection_lost, None)
            self._forget()

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._held:
            self._lane.loop.call_soon(self._pass_on)

    # For the lane.

    def receive(self, content: bytes) -> None:
        """Raises `lanes.BrokenFrame`."""
        self._received += len(content)
        if self._received > lanes.MAX_ON_LANE:
            raise lanes.BrokenFrame(f"more than {lanes.MAX_ON_LANE} bytes of a response")
        if self._last is not None:
            raise lanes.BrokenFrame("content behind its end")
        if self._paused or self._held:
            self._held += content
        else:
            self._protocol.data_received(content)

    def receive_last(self, kind: int) -> None:
        """``kind``: why no more comes by the lane."""
        if self._last is None or kind == lanes.CLOSE:
            self._last = kind
            self._end()

    def _pass_on(self) -> None:
        if self._paused or not self._held:
            return
        held = bytes(self._held)
        self._held.clear()
        self._protocol.data_received(held)
        self._end()

    def _end(self) -> None:
        if self._held or self._closed or self._last is None:
            return
        if self._last == lanes.MOVE:
            self._moving = self._lane.loop.create_task(self._move())
        else:
            self._forget()
            self._protocol.connection_lost(None)

    async def _move(self) -> None:
        try:
            await self._lane.loop.create_unix_connection(lambda: _Socket(self, self._number), self._lane.path)
        except OSError as error:
            self.cannot_move(error.strerror or str(error))

    # For the socket that it moves to.

    def cannot_move(self, why: str) -> None:
        # Where the whole lane closes, that tells.
        if not self.is_closing():
            self._lane.on_failure(f"no socket could be opened for a long response: {why}")
            self.abort()

    def move(self, transport: asyncio.Transport, content: bytes) -> None:
        """From now on this is its transport, on which ``content`` has come."""
        if self._closed:
            transport.abort()
            return
        self._forget()
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        if self._paused:
            transport.pause_reading()
        self._protocol.data_received(content)

    def _forget(self) -> None:
        self._closed = True
        self._held.clear()
        self._lane.forget(self._number)


class _Socket(asyncio.Protocol):
    """Where a connection moves once the worker has taken it, and so says something: a worker may close it unseen."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_header(lanes.MOVE, self._number, 0))

    def data_received(self, data: bytes) -> None:
        self._connection.move(self._transport, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.cannot_move("the worker has not taken it")
