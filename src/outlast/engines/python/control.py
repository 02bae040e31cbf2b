"""The control channel between this worker and its node."""

import collections
import fcntl
import mmap
import os
import select
import socket
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable

import msgspec

from outlast.wire import kept, messages
from outlast.wire.framing import Lines
from outlast.wire.kept import Kept

EAGER_SENDS = 4
PAUSE_S = 0.002
"""After a pause of this length, the next `EAGER_SENDS` messages are handed to the kernel one by one. Further ones wait
for the loop's next turn, or for this long."""
FINISHES_WITHIN_S = 1.0
"""For so long, what ends the process waits for another thread in the middle of its sending. It cannot wait for its own,
where it is a signal's handler."""
MAX_TEXT = 256 * 1024
MAX_NAME = 1024
"""Characters. A line is limited to 1 MiB by the node, and a character takes up to six bytes in JSON."""
_LONG_LINE = 64 * 1024


class Channel:
    """``on_message`` is called for each message of the node; ``on_lost`` when the node is gone.

    Any thread may send, and so may a signal handler in the middle of another send, so nothing here waits for a lock,
    but `finish`: whoever finds the channel taken leaves the message to the one who has it.

    With ``memory``, which the node reads when this process has died, every message is safe once `send` returns, but
    while another thread is about to keep it, or waits for the node because there is no room left. Without it, only the
    start of a task is, because that is handed to the kernel at once.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        path: str,
        on_message: Callable[[messages.ToWorker], None],
        on_lost: Callable[[], None],
        memory: mmap.mmap | None,
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
        """Lines of the node that have not been handled yet."""
        self._reading = False
        # Sending.
        self._queue: collections.deque[bytes] = collections.deque()
        self._kept = Kept(bytearray(kept.SIZE) if memory is None else memory)
        self._is_kept = memory is not None
        self._keeping = threading.Lock()
        """Held by whoever keeps lines, for a moment, or until there is room again."""
        self._taken = threading.Lock()
        """Held by whoever sends."""
        self._shall_send = False
        """Tells whoever has the channel to send everything."""
        self._home = threading.get_ident()
        self._flush_is_due = False
        self._sent_at = 0.0
        self._eager = 0
        """How many of the next messages are sent at once."""

    def send(self, message: messages.FromWorker) -> None:
        self._queue.append(_encode(message))
        if time.monotonic() - self._sent_at > PAUSE_S:
            self._eager = EAGER_SENDS
        if self._eager > 0:
            self._eager -= 1
            self.flush()
        elif not self._is_kept and type(message) is messages.TaskStarted:
            self.flush()
        else:
            self.proceed()
            if not self._flush_is_due:
                self._flush_is_due = True
                try:
                    if threading.get_ident() == self._home:
                        self._loop.call_soon(self._flush_now)
                    else:
                        self._loop.call_soon_threadsafe(self._flush_now)
                except MemoryError:
                    self._flush_is_due = False
                    raise

    def flush(self) -> None:
        """Sends everything. Waits for the node only when the kernel's buffer is full."""
        if self._queue or self._kept.said != self._kept.sent:
            self._shall_send = True
            self.proceed()

    def proceed(self) -> None:
        """Does what is due, unless somebody else is doing it. Waits for the node when both buffers are full."""
        # Whoever is keeping lines now will look next whether there is something to send.
        while (self._keep() or (self._shall_send and not self._keeping.locked())) and self._taken.acquire(False):
            try:
                while self._keep() and self._keeping.acquire(False):
                    try:
                        self._make_room()
                    finally:
                        self._keeping.release()
                if self._shall_send:
                    self._shall_send = False
                    self._keep()
                    if self._queue:
                        # Somebody else is keeping it, or there is no room yet.
                        self._shall_send = True
                    self._send_kept()
            finally:
                self._taken.release()

    def finish(self) -> None:
        """Sends everything, last of all: waits for another thread that is at it, and leaves it nothing to send."""
        if self._taken.acquire(timeout=FINISHES_WITHIN_S):
            if self._keeping.acquire(timeout=FINISHES_WITHIN_S):
                # Not what others say meanwhile: they might never cease.
                for _ in range(len(self._queue)):
                    self._make_room()
            self._send_kept()

    def listen(self) -> None:
        """Handles what the node says from now on. SIGIO, whose handler must be installed already, tells of it, too."""
        self._loop.add_reader(self._socket, self.receive)
        fcntl.fcntl(self._socket, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self._socket, fcntl.F_GETFL)
        fcntl.fcntl(self._socket, fcntl.F_SETFL, flags | os.O_ASYNC)

    def receive(self) -> None:
        """Handles what the node has said so far. Never blocks.

        A signal handler may call it in the middle of another call of it, and of whatever that calls.
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
        """For a child process: the channel is the parent's."""
        self._queue.clear()
        self._kept.release()
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

    def _keep(self) -> bool:
        """Keeps what is queued, unless somebody else is doing it. Returns whether there is no room for the first."""
        while self._queue and self._keeping.acquire(False):
            try:
                while self._queue:
                    if not self._kept.put(self._queue[0]):
                        return True
                    self._queue.popleft()
            finally:
                self._keeping.release()
        return False

    def _make_room(self) -> None:
        """For the first that is queued, which is kept then or, if it is too long, sent. The caller has both locks."""
        self._send_kept()
        if not self._kept.put(self._queue[0]):
            self._send_long(self._queue[0])
        self._queue.popleft()

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _send_long(self, line: bytes) -> None:
        """There is no room for it even when all else is sent."""
        rest = memoryview(line)
        while rest:
            rest = rest[self._hand_over(rest) :]
        self._kept.pass_by(len(line))

    def _send_kept(self) -> None:
        # Not what another thread keeps meanwhile, which might never cease.
        end = self._kept.said
        while self._kept.sent < end:
            self._kept.sent += self._hand_over(self._kept.unsent())
        self._sent_at = time.monotonic()

    def _hand_over(self, data: memoryview) -> int:
        """Returns how many bytes the kernel took; it takes some."""
        while True:
            try:
                return self._socket.send(data)
            except BlockingIOError:
                select.select([], [self._socket], [])
            except OSError:
                self._on_lost()
                # Nobody is left to hear it.
                return len(data)


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
    beginning = text[:max_chars].encode(errors="backslashreplace").decode()
    while len(msgspec.json.encode(beginning)) > 4 * max_chars:
        beginning = beginning[: len(beginning) // 2]
    is_whole = len(text) <= max_chars and len(beginning) >= len(text)
    return beginning if is_whole else f"{beginning}\n[cut: it had {len(text)} characters]"
