"""The node's ends of a worker's control channel and of its standard output and error."""

import asyncio
import codecs
from collections.abc import Callable, Iterable
from typing import cast

from outlast.core.errors import OutlastError
from outlast.engines.descriptors import ReadEnd
from outlast.wire import kept, messages, notes
from outlast.wire.framing import Lines


class _Reading(asyncio.Protocol):
    """``closed`` is done when the worker has closed its end and everything has been delivered."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._transport: asyncio.ReadTransport | None = None

    def pause(self) -> None:
        """Stops reading until `resume`; meanwhile the worker has to wait."""
        if self._transport is not None and not self.closed.done():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self.closed.done():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Channel(_Reading):
    """The control channel of one worker.

    ``on_messages`` is called with all messages that have come at a time, in order. Iterating over them raises
    `OutlastError` at one that is not allowed; then ``on_broken`` is called, once, and nothing more is read.
    """

    _transport: asyncio.Transport | None

    def __init__(
        self,
        on_open: Callable[[], None],
        on_messages: Callable[[Iterable[messages.FromWorker]], None],
        on_broken: Callable[[OutlastError], None],
    ) -> None:
        super().__init__()
        self.received = 0
        """Bytes."""
        self._lines_received = 0
        self._on_open = on_open
        self._on_messages = on_messages
        self._on_broken = on_broken
        self._lines = Lines()
        self._expected = True
        self._is_broken = False
        self._pings = 0
        self._pongs: dict[int, asyncio.Future[None]] = {}

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def protocol(self) -> asyncio.Protocol:
        """For the next connection to the worker's control socket. The first one counts; others are cut off."""
        if self._expected:
            self._expected = False
            return self
        return _Refused()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._on_open()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        try:
            lines = self._lines.feed(data)
            self._lines_received += len(lines)
            self._on_messages(messages.decode_from_worker(lines))
        except OutlastError as error:
            self._is_broken = True
            self._lines = Lines()
            self.close()
            self._on_broken(error)

    def hear_what_was_kept(self, memory: bytes) -> None:
        """Delivers what a worker that is gone had left unsent in ``memory``. Call it when nothing more comes."""
        self._hear_what_was_left(kept.left_behind(memory, self.received))

    def hear_what_was_noted(self, content: bytes) -> None:
        """Likewise, what it had left unsent in its notes."""
        # What has come in part is there as a whole.
        self._lines = Lines()
        self._hear_what_was_left(notes.left_behind(content, self._lines_received))

    def _hear_what_was_left(self, left: bytes) -> None:
        if left and self.is_open and not self._is_broken:
            self.data_received(left)

    def send(self, message: messages.ToWorker) -> None:
        """Does nothing before the channel is open, and once it is closed."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.encode(message))

    async def catch_up(self, *, no_clients: bool = False) -> None:
        """Returns when everything the worker has said so far was delivered, or nothing more will be.

        With ``no_clients``, it first reports what it still does for requests, none of which may be open.
        """
        if self._transport is None:
            return
        self._pings += 1
        number = self._pings
        pong = self._pongs[number] = asyncio.get_running_loop().create_future()
        self.send(messages.Ping(number, no_clients))
        try:
            await asyncio.wait([pong, self.closed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._pongs[number]

    def on_pong(self, message: messages.Pong) -> None:
        pong = self._pongs.get(message.number)
        if pong is not None and not pong.done():
            pong.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class Output(_Reading):
    """Reads the lines of a worker's standard output or error. Those longer than `MAX_LINE` come in pieces.

    ``on_lines`` is called with all that have come at a time: a worker writes a thousand of them in less time than it
    takes to look at one.
    """

    MAX_LINE = 64 * 1024

    def __init__(self, on_lines: Callable[[list[str]], None]) -> None:
        super().__init__()
        self._on_lines = on_lines
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    @classmethod
    async def read(cls, descriptor: int, on_lines: Callable[[list[str]], None]) -> "Output":
        """Starts reading from ``descriptor``, which is closed at the end."""
        pipe = ReadEnd(descriptor)
        _, output = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(on_lines), pipe)
        return output

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._pending = (self._pending + self._decoder.decode(data)).split("\n")
        if len(self._pending) > self.MAX_LINE:
            lines.append(self._pending)
            self._pending = ""
        if lines:
            self._on_lines(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pending:
            self._on_lines([self._pending])
            self._pending = ""
        super().connection_lost(exc)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
