"""What a worker has said and the node may not have: in memory that outlives the worker, sans-I/O.

To hand each line to the kernel at once costs more than all else about it. So a worker puts its lines here first, and
sends many at a time; when it is gone, the node takes from here what was never sent.

The memory begins with a count, of all the bytes that the worker has said in its life. Behind it is a ring, where each
of those bytes lies at its number modulo the ring's size. The node knows how many have reached it: those from there up
to the count are the ones that have not. Nothing marks what has been sent, so that there is no moment at which a worker
could die with the mark wrong.

Invariant: the ring is changed only where what is there was sent; the count is raised, in one store, when the bytes
that it counts are there.
"""

import mmap
import struct

SIZE = 64 * 1024
_COUNT = struct.Struct("=Q")
COUNT_SIZE = _COUNT.size
RING = SIZE - COUNT_SIZE


class Kept:
    """The worker's side."""

    __slots__ = ("_count", "_ring", "said", "sent")

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        """``memory``: of `SIZE`, and all zero."""
        self._count = memoryview(memory)[: _COUNT.size].cast("Q")
        self._ring = memoryview(memory)[_COUNT.size :]
        self.said = 0
        """Bytes."""
        self.sent = 0
        """How many of them were handed to the kernel; whoever does that counts it up."""

    def put(self, line: bytes) -> bool:
        """Whether there was room for it."""
        said, length = self.said, len(line)
        end = said + length
        if end - self.sent > RING:
            return False
        begin = said % RING
        fits = RING - begin
        if length <= fits:
            self._ring[begin : begin + length] = line
        else:
            self._ring[begin:] = line[:fits]
            self._ring[: length - fits] = line[fits:]
        self._count[0] = self.said = end
        return True

    def unsent(self) -> memoryview:
        """What is to be sent next: all that has not been, or as much of it as lies in one piece. Empty at the end."""
        begin = self.sent % RING
        return self._ring[begin : min(begin + self.said - self.sent, RING)]

    def pass_by(self, length: int) -> None:
        """So many bytes, too many for the ring, were sent without it. Nothing was unsent before."""
        self.sent = self.said = end = self.said + length
        self._count[0] = end

    def release(self) -> None:
        """In a copy of the process: the memory is the original's. To use this afterwards raises ValueError."""
        self._count.release()
        self._ring.release()


def said(memory: bytes) -> int:
    """How many bytes the worker has said by now. ``memory``: at least the first `COUNT_SIZE` bytes of it."""
    return int(_COUNT.unpack_from(memory)[0])


def left_behind(memory: bytes, received: int) -> bytes:
    """What is to come after the first ``received`` bytes of all that a worker has said.

    The memory is the worker's own, who may have written there what it liked.
    """
    missing = said(memory) - received
    if not 0 < missing <= RING:
        return b""
    ring = memory[_COUNT.size : SIZE]
    begin = received % RING
    return (ring[begin:] + ring[:begin])[:missing]
