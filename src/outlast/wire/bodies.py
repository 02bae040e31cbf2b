"""Where a message's body ends and what it contains: the three framings of RFC 9112 section 6, sans-I/O."""

import re
from typing import Protocol

from outlast.core.errors import OutlastError
from outlast.wire import http1

MAX_CHUNK_LINE_BYTES = 4 * 1024
MAX_TRAILER_BYTES = 8 * 1024

LAST_CHUNK = b"0\r\n\r\n"

# White space after the size is refused unless an extension follows: the grammar has none, some recipients do.
_EXTENSION = rb"[ \t]*+;%b" % http1.TEXT
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%b)?\r\n" % _EXTENSION)
_START_OF_CHUNK_LINE = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:(?:%b)?\r?|[ \t]*+))?" % _EXTENSION)
_TRAILER_LINE = re.compile(rb"(?:%b:%b)?\r\n" % (http1.TOKEN, http1.TEXT))
_START_OF_TRAILER_LINE = re.compile(rb"(?:%b(?::%b\r?)?|\r)?" % (http1.TOKEN, http1.TEXT))


class BadBody(OutlastError):
    """A body that breaks its framing or ends too early; nothing after it on its connection can be trusted."""


class Body(Protocol):
    """Decodes one body. An instance serves one message."""

    @property
    def done(self) -> bool:
        """Whether the whole body has been seen."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take received bytes; return the content in them, and what follows the end of the body.

        The latter is empty until ``done``, and belongs to the next message. Raises ``BadBody``.
        """

    def eof(self) -> None:
        """Say that the sender has closed. Raises ``BadBody`` if the body is not complete."""


def decoder(length: int) -> Body:
    """Return the decoder for the ``length`` of a head."""
    if length == http1.CHUNKED:
        return Chunked()
    if length == http1.UNTIL_CLOSE:
        return UntilClose()
    return FixedLength(length)


def chunk(data: bytes) -> bytes:
    """Frame ``data``, which must not be empty (an empty chunk would end the body), as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LARGE = 16 * 1024
"""From this many bytes on, copying a chunk costs more than sending it in pieces."""


def chunk_pieces(data: bytes) -> list[bytes]:
    """What `chunk` returns, in pieces."""
    return [b"%x\r\n" % len(data), data, b"\r\n"]


class FixedLength:
    """As many bytes as Content-Length says."""

    __slots__ = ("_missing",)

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def done(self) -> bool:
        return self._missing == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data)
        if size <= self._missing:
            self._missing -= size
            return data, b""
        end, self._missing = self._missing, 0
        return data[:end], data[end:]

    def eof(self) -> None:
        if self._missing:
            raise BadBody(f"the body ended {self._missing} bytes before its Content-Length")


class UntilClose:
    """Everything until the connection closes, which only a response may use."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return (b"", data) if self.done else (data, b"")

    def eof(self) -> None:
        self.done = True


class Chunked:
    """Chunks (RFC 9112 section 7.1). Extensions and trailers are checked, bounded and dropped."""

    __slots__ = ("_in_trailers", "_missing", "_pending", "_trailer_room", "done")

    def __init__(self) -> None:
        self.done = False
        self._in_trailers = False
        self._trailer_room = MAX_TRAILER_BYTES
        # Bytes still to come of this chunk and the CRLF after it; 0 where a chunk-size line comes next.
        self._missing = 0
        # The beginning of a line that has not come whole; bounded by the limits above.
        self._pending = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self.done:
            return b"", data
        if self._pending:
            data = self._pending + data
            self._pending = b""
        content: list[bytes] = []
        position = 0
        while position < len(data) and not self._in_trailers:
            if self._missing:
                position = self._take_chunk(data, position, content)
            elif (line := _CHUNK_LINE.match(data, position, position + MAX_CHUNK_LINE_BYTES)) is not None:
                position = line.end()
                if size := int(line[1], 16):
                    self._missing = size + 2
                else:
                    self._in_trailers = True
            else:
                self._keep_chunk_line(data[position : position + MAX_CHUNK_LINE_BYTES])
                return b"".join(content), b""
        if self._in_trailers:
            return b"".join(content), self._take_trailers(data[position:])
        return b"".join(content), b""

    def eof(self) -> None:
        if not self.done:
            raise BadBody("the chunked body ended before its last chunk")

    def _take_chunk(self, data: bytes, position: int, content: list[bytes]) -> int:
        """Take what belongs to the present chunk; return the index of the first byte that does not."""
        if self._missing > 2:
            piece = data[position : position + self._missing - 2]
            content.append(piece)
            self._missing -= len(piece)
            position += len(piece)
            if self._missing > 2:
                return position
        found = data[position : position + self._missing]
        if not b"\r\n"[-self._missing :].startswith(found):
            raise BadBody("a chunk is not followed by CRLF")
        self._missing -= len(found)
        return position + len(found)

    def _keep_chunk_line(self, line: bytes) -> None:
        if _START_OF_CHUNK_LINE.fullmatch(line) is None:
            raise BadBody("a chunk-size line is not a plain hexadecimal number, extensions and CRLF")
        if len(line) == MAX_CHUNK_LINE_BYTES:
            raise BadBody(f"a chunk-size line is longer than {MAX_CHUNK_LINE_BYTES} bytes")
        self._pending = line

    def _take_trailers(self, data: bytes) -> bytes:
        """Take whole trailer lines and keep the beginning of one; return what lies beyond the section."""
        position = 0
        while (line := _TRAILER_LINE.match(data, position, position + self._trailer_room)) is not None:
            position = line.end()
            self._trailer_room -= len(line[0])
            if line[0] == b"\r\n":
                self.done = True
                return data[position:]
        rest = data[position : position + self._trailer_room]
        if _START_OF_TRAILER_LINE.fullmatch(rest) is None:
            raise BadBody("the trailer section is not made of field lines")
        if len(rest) == self._trailer_room:
            raise BadBody(f"the trailer section is longer than {MAX_TRAILER_BYTES} bytes")
        self._pending = rest
        return b""
