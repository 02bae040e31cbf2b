"""What goes between the node and the processes that it has started, besides sockets: pipes, and memory."""

import asyncio
import contextlib
import fcntl
import os

import uvloop

from outlast.wire import kept


def pipe(reading: contextlib.ExitStack, writing: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe; each of these stacks closes one end of it."""
    read, write = os.pipe()
    reading.callback(os.close, read)
    writing.callback(os.close, write)
    return read, write


def memory(stack: contextlib.ExitStack) -> int:
    """Memory that a worker shares with the node. The worker cannot change its size."""
    descriptor = os.memfd_create("kept", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    os.ftruncate(descriptor, kept.SIZE)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


class ReadEnd:
    """The read end of a pipe, as `loop.connect_read_pipe` takes it; whoever reads it closes it, once.

    uvloop closes the descriptor and then the file object as well. By then another thread may have been given a file
    with the same number, and the second close would take that away.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop_closes = isinstance(asyncio.get_running_loop(), uvloop.Loop)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if not self._loop_closes:
            os.close(self._descriptor)


async def read_all(descriptor: int) -> bytes:
    """Reads to the end, then closes the descriptor."""
    transport, gathering = await asyncio.get_running_loop().connect_read_pipe(_Gathering, ReadEnd(descriptor))
    try:
        return await gathering.whole
    finally:
        transport.close()


class _Gathering(asyncio.Protocol):
    """Gathers what is read, for a task that waits for all of it.

    The loop keeps this, and so the task, for as long as it reads. It would not keep an `asyncio.StreamReader`: a task
    that nobody else refers to, since its caller was cancelled, could be collected, by any thread, and that thread would
    then close the transport while the loop reads from it. With uvloop, such a process ends with a segmentation fault.
    """

    def __init__(self) -> None:
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._data = bytearray()

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, error: Exception | None) -> None:
        if self.whole.done():
            return
        if error is None:
            self.whole.set_result(bytes(self._data))
        else:
            self.whole.set_exception(error)
