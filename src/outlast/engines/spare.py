"""A copy of a spawner, made ahead: to make it, and to copy the memory that it touches, takes as long as all that is
left to do when a worker is asked for.

It belongs to no function. It has left all that its maker has open, rehearses, and waits for the request that makes it a
worker; when its maker is gone, so is it.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

HIGHEST_FD = 256
"""Above all that a spawner ever has open."""
MAX_RECEIVED_FDS = 64
_LINE_FD = 0
_READY = b"\n"


def lead_a_group(pid: int) -> None:
    """A process that is to be a worker, and its maker, both do it: whichever runs first, a kill finds the group."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)


class Order(NamedTuple):
    """What makes a worker of a spare."""

    request: bytes
    descriptors: list[int]


class Spare:
    """Its maker's side."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self._line = line

    @classmethod
    def make(cls, rehearse: Callable[[], None]) -> Self | Order:
        """Returns twice: here, and in the copy once that is to be a worker. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if pid:
                lead_a_group(pid)
                return cls(pid, ours)
            # Not to be closed when this object goes: the number will be another's.
            ours.detach()
            return _stand_by(theirs.detach(), rehearse)

    def take(self, request: bytes, descriptors: Sequence[int]) -> bool:
        """Whether it is a worker now: it is not if it is not ready yet, or has died."""
        try:
            if self._line.recv(1, socket.MSG_DONTWAIT) != _READY:
                return False
            sent = socket.send_fds(self._line, [request], descriptors)
            # With all of it, it goes to work, and closes its end of the line.
            if rest := request[sent:]:
                self._line.sendall(rest)
        except OSError:
            return False
        self._line.close()
        return True

    def close(self) -> None:
        """It has ended, or is to end."""
        self._line.close()

    def forget(self) -> None:
        """In another copy of its maker: it is none of that one's business."""
        self._line.detach()


def _stand_by(descriptor: int, rehearse: Callable[[], None]) -> Order:
    lead_a_group(0)
    signal.set_wakeup_fd(-1)
    os.dup2(descriptor, _LINE_FD)
    os.closerange(3, HIGHEST_FD)
    with contextlib.suppress(Exception):
        # It saves time, and that is all.
        rehearse()
    line = socket.socket(fileno=_LINE_FD)
    request, descriptors = b"", list[int]()
    with contextlib.suppress(OSError):
        line.send(_READY)
        while not request.endswith(b"\n"):
            data, received, _, _ = socket.recv_fds(line, 1 << 20, MAX_RECEIVED_FDS)
            if not data:
                break
            request += data
            descriptors += received
    if not request.endswith(b"\n"):
        os._exit(0)
    line.detach()
    return Order(request, descriptors)
