"""The messages that node and worker exchange over the control channel: one JSON object a line.

A message names its kind in ``type``. Unknown fields are ignored, so that either side may be newer; an unknown kind or
a broken value raises `BrokenMessage`, which ends that worker and never the node. The vectors in
``tests/wire/vectors.json`` test the guests of every language.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from outlast.core import outcome
from outlast.core.errors import OutlastError
from outlast.wire import sockets

Level = Literal["debug", "info", "warning", "error"]


class BrokenMessage(OutlastError):
    """A worker sent something that is not a message of the control channel."""


class _Message(msgspec.Struct, tag_field="type", gc=False, omit_defaults=True):
    pass


# From the node.


class Boot(_Message, tag="boot"):
    """Evaluate the function's code now. Sent once, to a worker in standby; answered by `Ready` or `BootFailed`."""

    function: str
    entrypoint: str
    """``file:`` URL."""


class BeforeUnload(_Message, tag="beforeunload"):
    """Dispatch `beforeunload` with this reason; answered by `Unloaded`."""

    reason: outcome.UnloadReason


class Exit(_Message, tag="exit"):
    """Dispatch `unload` and end the process."""


class Abandoned(_Message, tag="abandoned"):
    """Nobody waits for the response to this request any more: what the function still does for it becomes a task.

    The request comes by another socket, perhaps later than this; and the response may have been on its way.
    """

    request: str


class Ping(_Message, tag="ping"):
    """Answered by `Pong`, after everything that was to be said before it."""

    number: int
    no_clients: bool = False
    """No request has a client any more, nor will one: what still runs for one is to be reported as a task first."""


# From a worker.


class Ready(_Message, tag="ready"):
    """The code has been evaluated; requests can be sent."""

    socket: str = sockets.HTTP
    """The file in the worker's folder that it listens on."""


class BootFailed(_Message, tag="boot_failed"):
    error: str


class TaskStarted(_Message, tag="task_started"):
    task: int
    """Chosen by the worker, unique in its life."""
    name: str = ""
    request: str = ""
    """Request id; empty for a task that the top level of the module started."""
    unloading: bool = False
    """Started by a `beforeunload` listener: other tasks are waited for, this one has only a grace."""


class TaskSettled(_Message, tag="task_settled"):
    task: int
    outcome: Literal["fulfilled", "rejected", "timed_out"]
    error: str = ""
    """With its stack."""


class Logged(_Message, tag="log"):
    """The function printed this."""

    level: Level
    text: str
    request: str = ""


class Uncaught(_Message, tag="uncaught"):
    """An error that neither the code nor a listener of its own handled. It retires the worker."""

    error: str
    request: str = ""


class Loop(_Message, tag="loop"):
    """The event loop has been blocked for a while, or goes on again: meanwhile requests go to other workers."""

    stuck: bool


class Unloaded(_Message, tag="unloaded"):
    """Every `beforeunload` listener has returned, and what it passed to `waitUntil` has settled."""

    reason: outcome.UnloadReason


class Pong(_Message, tag="pong"):
    number: int


ToWorker = Boot | BeforeUnload | Exit | Abandoned | Ping
FromWorker = Ready | BootFailed | TaskStarted | TaskSettled | Logged | Uncaught | Loop | Unloaded | Pong

_encoder = msgspec.json.Encoder()
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)
_to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)


def encode(message: ToWorker | FromWorker) -> bytes:
    """The message as one line, including the newline."""
    return _encoder.encode(message) + b"\n"


def decode_from_worker(lines: Iterable[bytes]) -> Iterator[FromWorker]:
    """Decodes lines, given without newlines, one by one. Raises `BrokenMessage` at the first that is no message."""
    decode, line = _from_worker.decode, b""
    try:
        for line in lines:
            yield decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenMessage(f"{error}: {bytes(line[:200])!r}") from error


def decode_to_worker(line: bytes) -> ToWorker:
    """Decodes one line, given without its newline. Raises `BrokenMessage`."""
    try:
        return _to_worker.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenMessage(f"{error}: {bytes(line[:200])!r}") from error
