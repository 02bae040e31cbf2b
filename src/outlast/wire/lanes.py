"""Many connections between the node and a worker on one unix socket, sans-I/O.

A request on a socket of its own costs both sides a system call for each thing said, and mostly wakes the other one up.
On a lane, whoever is behind reads all that has come meanwhile at once.

Both ends send frames: `HEADER`, in the byte order of the machine, which is a kind, the number of the connection and a
size; and, behind `DATA`, as many bytes of content.

- `DATA`: the connection's next bytes. The node opens a connection by sending the first ones.
- `CLOSE`: the connection is closed, for both directions.
- `MOVE`: the connection needs a socket of its own. A worker says so before it sends more than `MAX_ON_LANE` bytes of a
  response, so that one whose client reads slowly does not fill the node's memory. The node opens another socket to the
  worker, on which it sends the same frame, and what follows on that, in both directions, are the connection's bytes.
"""

import struct

from outlast.core.errors import OutlastError

HEADER = struct.Struct("=BII")
DATA, CLOSE, MOVE = range(3)
MAX_ON_LANE = 256 * 1024

REST = 3
"""Never sent: what `Frames` calls further content of a `DATA` frame that has not come at once."""

Frame = tuple[int, int, bytes]
"""Kind, number of the connection, and the content, which only `DATA` and `REST` have, and which is not empty."""


class BrokenFrame(OutlastError):
    """A worker sent something on its lane that is no frame, or more than it may."""


class Frames:
    """Cuts a stream into frames, however it was split on its way."""

    __slots__ = ("_kind", "_missing", "_number", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        """The beginning of a header."""
        self._missing = 0
        """Bytes that are still to come of the content for ``_number``."""
        self._number = 0
        self._kind = DATA
        """Of the frame that these make."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames in ``data``. Raises `BrokenFrame`."""
        frames: list[Frame] = []
        position = 0
        if self._missing:
            content = data[: self._missing]
            position = len(content)
            self._missing -= position
            frames.append((self._kind, self._number, content))
            self._kind = REST
        elif self._pending:
            data = self._pending + data
        length = len(data)
        while position + HEADER.size <= length:
            kind, number, size = HEADER.unpack_from(data, position)
            position += HEADER.size
            if kind == DATA:
                content = data[position : position + size]
                position += size
                if position > length:
                    self._number, self._missing = number, position - length
                    self._kind = REST if content else DATA
                    position = length
                if content:
                    frames.append((DATA, number, content))
            elif kind <= MOVE:
                frames.append((kind, number, b""))
            else:
                raise BrokenFrame(f"there is no frame of kind {kind}")
        self._pending = data[position:]
        return frames
