"""One invocation on its way: waiting for a worker, then carried by a link to it."""

from typing import TYPE_CHECKING

from outlast.core import outcome
from outlast.core.limits import Verdict
from outlast.wire import bodies
from outlast.wire.invocation import Invocation, Reply

if TYPE_CHECKING:
    from outlast.supervisor.link import Link
    from outlast.supervisor.pool import Pool
    from outlast.supervisor.worker import Worker

MAX_HELD = 64 * 1024


class Exchange:
    """The source's handle (`outlast.wire.invocation.Exchange`), and the supervisor's record of the call."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_paused",
        "_pool",
        "body_complete",
        "ended",
        "generation",
        "invocation",
        "link",
        "reply",
        "sent",
        "waits_since",
        "worker",
    )

    def __init__(
        self, pool: "Pool", invocation: Invocation, reply: Reply, body: bytes, complete: bool, generation: int
    ) -> None:
        self.invocation = invocation
        self.reply = reply
        self.generation = generation
        """It may be served by code of this generation or a later one."""
        self.worker: Worker | None = None
        self.link: Link | None = None
        self.waits_since = 0.0
        self.sent = False
        """Whether a worker may have seen any of it: then it cannot go to another one."""
        self.ended = False
        self._pool = pool
        self._held: list[bytes] = []
        """What has come of the body before a link carries it."""
        self._held_bytes = 0
        self._paused = False
        self.body_complete = complete and not body and not invocation.chunked
        if body:
            self.write(body)
        if complete and not self.body_complete:
            self.finish()

    # What the source does.

    def write(self, data: bytes) -> None:
        if self.invocation.chunked and not self.body_complete:
            data = bodies.chunk(data)
        if self.link is not None:
            self.link.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD and not self._paused:
            self._paused = True
            self.reply.pause()

    def finish(self) -> None:
        if self.body_complete:
            # The connection was upgraded, so this closes one direction of it.
            if self.link is not None:
                self.link.write_eof()
            return
        if self.invocation.chunked:
            self._send(bodies.LAST_CHUNK)
        self.body_complete = True

    def cancel(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self.link is not None:
            self.link.abandon()
        elif self.worker is None:
            self._pool.forget(self)

    def pause(self) -> None:
        if self.link is not None:
            self.link.pause()

    def resume(self) -> None:
        if self.link is not None:
            self.link.resume()

    # What the supervisor does.

    @property
    def is_short(self) -> bool:
        """Whether all of the request is here, and there is not much of it."""
        return self.body_complete and self._held_bytes <= MAX_HELD and not self.invocation.upgrades

    def ride(self, link: "Link") -> bytes:
        """From now on ``link`` carries it. Returns the bytes to send: what has come of the request so far."""
        self.link = link
        self.sent = True
        held = self.invocation.head
        if self._held:
            held = b"".join([held, *self._held])
            self._held.clear()
        if self._paused:
            self._paused = False
            self.reply.resume()
        elif not self.body_complete:
            self.reply.proceed()
        return held

    def put_back(self, unsent: bytes) -> None:
        """The link could send nothing of these bytes, which `ride` returned: another one may."""
        self.link = None
        self.sent = False
        if body := unsent[len(self.invocation.head) :]:
            self._held.append(body)
        self._held_bytes = len(body)
        if not self.body_complete:
            # It was told to go on, which it cannot be told twice.
            self._paused = True
            self.reply.pause()

    def fail(
        self,
        end: outcome.RequestEnd,
        why: str = "",
        *,
        limit: Verdict | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """See `outlast.wire.invocation.Reply.fail`."""
        if not self.ended:
            self.ended = True
            execution_id = self.worker.execution_id if self.worker is not None else ""
            self.reply.fail(end, execution_id, why, limit=limit, retry_after_s=retry_after_s)

    def _send(self, data: bytes) -> None:
        if self.link is not None:
            self.link.write(data)
        else:
            self._held.append(data)
