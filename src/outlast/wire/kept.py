"""A buffer of what a worker has said but perhaps not sent yet, in memory that outlives the worker; sans-I/O.

Handing each line to the kernel at once costs more than everything else about it. So a worker puts its lines here first,
and sends many at a time. When the worker is gone, the node takes from here what was never sent.

The memory begins with a count of all the bytes that the worker has said in its life. Behind the count is a ring, in
which each of those bytes lies at its number modulo the ring's size. The node knows how many bytes have reached it: the
ones from there up to the count have not. Nothing marks what has been sent, so there is no moment at which a worker
could die and leave a wrong mark.

Invariant: only bytes that have been sent are overwritten; and the count is raised, in one store, once the bytes that it
counts are in the ring.
"""

import mmap
import struct

SIZE = 64 * 1024
_COUNT = struct.Struct("=Q")
RING = SIZE - _COUNT.size


class Kept:
    """The worker's side."""

    __slots__ = ("_count", "_ring", "said", "sent")

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        """``memory``: `SIZE` bytes, all zero."""
        self._count = memoryview(memory)[: _COUNT.size].cast("Q")
        self._ring = memoryview(memory)[_COUNT.size :]
        self.said = 0
        """Bytes."""
        self.sent = 0
        """How many of them were handed to the kernel; whoever does that raises it."""

    def put(self, line: bytes) -> bool:
        """Returns whether there was room for the line; if not, nothing has changed."""
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
        """What to send next: everything unsent, or as much of it as lies in one piece. Empty if nothing is left."""
        begin = self.sent % RING
        return self._ring[begin : min(begin + self.said - self.sent, RING)]

    def pass_by(self, length: int) -> None:
        """Counts ``length`` bytes, too many for the ring, that were sent directly. Nothing may be unsent before."""
        self.sent = self.said = end = self.said + length
        self._count[0] = end

    def release(self) -> None:
        """For a forked copy of the process, whose memory this is not. Using it afterwards raises ValueError."""
        self._count.release()
        self._ring.release()


def left_behind(memory: bytes, received: int) -> bytes:
    """What a worker has said after the first ``received`` bytes, or nothing if the memory makes no sense.

    The worker may have written anything there: what comes back is no more trustworthy than what it sends.
    """
    (said,) = _COUNT.unpack_from(memory)
    missing = said - received
    if not 0 < missing <= RING:
        return b""
    ring = memory[_COUNT.size : SIZE]
    begin = received % RING
    return (ring[begin:] + ring[:begin])[:missing]
