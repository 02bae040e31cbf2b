"""The channel between this worker and its node."""

import collections
import fcntl
import os
import select
import socket
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable

import msgspec

from outlast.wire import messages
from outlast.wire.framing import Lines

EAGER_SENDS = 4
BURST_S = 0.002
"""So many messages in so short a time are handed to the kernel one by one. The rest waits for the loop's next turn, or
for the next start of a task."""
MAX_QUEUED = 1024
"""Messages, before the sender waits until the node has read some: a function may print for ever."""
MAX_TEXT = 256 * 1024
MAX_NAME = 1024
"""Characters. A line is limited to 1 MiB by the node, and a character takes up to six bytes in JSON."""
_LONG_LINE = 64 * 1024


class Channel:
    """``on_message`` is called for each message of the node; ``on_lost`` when the node is gone.

    Any thread may send, and so may a signal handler in the middle of another send: nothing here waits for a lock. Who
    finds the channel taken leaves the message to whoever has it.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        path: str,
        on_message: Callable[[messages.ToWorker], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_message = on_message
        self._on_lost = on_lost
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.setblocking(False)
        # Receiving.
        self._lines = Lines()
        self._heard: collections.deque[bytes] = collections.deque()
        """Lines of the node that have not been acted on."""
        self._reading = False
        # Sending.
        self._queue: collections.deque[bytes] = collections.deque()
        self._rest = b""
        """Of a line that the kernel took in part."""
        self._sending = threading.Lock()
        self._home = threading.get_ident()
        self._flush_is_due = False
        self._burst_since = 0.0
        self._burst = 0
        loop.add_reader(self._socket, self.receive)

    def send(self, message: messages.FromWorker) -> None:
        """The start of a task is in the kernel's hands when this returns, and so are the first messages of a burst.

        The process may die then.
        """
        self._queue.append(_encode(message))
        now = time.monotonic()
        if now - self._burst_since > BURST_S:
            self._burst_since, self._burst = now, 0
        self._burst += 1
        is_urgent = self._burst <= EAGER_SENDS or type(message) is messages.TaskStarted
        if is_urgent or len(self._queue) > MAX_QUEUED:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            if threading.get_ident() == self._home:
                self._loop.call_soon(self._flush_now)
            else:
                self._loop.call_soon_threadsafe(self._flush_now)

    def flush(self) -> None:
        """Hands over what is queued; it waits for the node only when the kernel's buffer is full."""
        while self._queue and self._sending.acquire(blocking=False):
            try:
                data = self._rest
                while self._queue:
                    data += self._queue.popleft()
                self._rest = b""
                self._write(data)
            finally:
                self._sending.release()

    def signal_arrivals(self) -> None:
        """From now on SIGIO comes whenever the node has said something. Its handler has to be there already."""
        fcntl.fcntl(self._socket, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self._socket, fcntl.F_GETFL)
        fcntl.fcntl(self._socket, fcntl.F_SETFL, flags | os.O_ASYNC)

    def receive(self) -> None:
        """Takes in what the node has said by now. Never blocks.

        A signal handler may call it in the middle of another call, and even of what that leads to.
        """
        if not self._reading:
            self._reading = True
            try:
                self._read()
            finally:
                self._reading = False
        while self._heard:
            self._on_message(messages.decode_to_worker(self._heard.popleft()))

    def abandon(self) -> None:
        """In a child process: the channel is the parent's."""
        self._queue.clear()
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard += self._lines.feed(data)
        else:
            self._on_lost()

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                select.select([], [self._socket], [])
            except OSError:
                self._on_lost()
                return


def _encode(message: messages.FromWorker) -> bytes:
    try:
        line = messages.encode(message)
    except UnicodeEncodeError:
        # A lone surrogate, as in the name of a file that is not UTF-8.
        line = b""
    if not line or len(line) > _LONG_LINE:
        line = messages.encode(_cut(message))
    return line


def _cut(message: messages.FromWorker) -> messages.FromWorker:
    changes = {}
    for field in msgspec.structs.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, str):
            limit = MAX_TEXT if field.name in ("text", "error") else MAX_NAME
            changes[field.name] = _cut_text(value, limit)
    return msgspec.structs.replace(message, **changes)


def _cut_text(text: str, max_chars: int) -> str:
    kept = text[:max_chars].encode(errors="backslashreplace").decode()
    while len(msgspec.json.encode(kept)) > 4 * max_chars:
        kept = kept[: len(kept) // 2]
    return (
        kept if len(text) <= max_chars and len(kept) >= len(text) else f"{kept}\n[cut: it had {len(text)} characters]"
    )
