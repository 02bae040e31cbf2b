"""The interface of ledgers, and what they have in common."""

from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec

from outlast.core.errors import OutlastError
from outlast.core.records import (
    RequestPage,
    RequestQuery,
    RequestRecord,
    TaskCount,
    TaskPage,
    TaskQuery,
    TaskRecord,
    WorkerPage,
    WorkerQuery,
    WorkerRecord,
)

P = TypeVar("P", TaskPage, WorkerPage, RequestPage)

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000


class TooMany(OutlastError):
    """The database takes too long to count them."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a ledger keeps up. Counts are since the node was started."""

    backend: str
    """``memory`` or ``postgres``."""
    connected: bool
    """Whether what it is told is being written to where it outlives the node."""
    backlog: int
    """How many records wait to be written."""
    written: int
    dropped: int
    """Records that were never written, for want of room or because the database refused them."""
    error: str | None = None
    """Why it is not connected; or what else the database refuses, such as questions."""


class Ledger(Protocol):
    """The first methods are called in the middle of serving: they return at once, and never raise.

    A record belongs to the ledger once it has been passed to it; whoever made it still fills in how it ends, and then
    calls the ledger again. Queries see everything reported before, as far as the ledger's store can be reached.
    """

    def task_started(self, record: TaskRecord) -> None: ...

    def tasks_settled(self, records: Sequence[TaskRecord]) -> None: ...

    def worker_started(self, record: WorkerRecord) -> None: ...

    def worker_changed(self, record: WorkerRecord) -> None:
        """The worker became ready, or has ended."""

    def request_ended(self, record: RequestRecord) -> None: ...

    @property
    def status(self) -> Status: ...

    async def tasks(self, query: TaskQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> TaskPage:
        """A page of tasks, newest first. ``cursor``: from the previous page. ``limit``: at most `MAX_LIMIT`.

        Raises ValueError for an invalid cursor.
        """
        ...

    async def task(self, id: str) -> TaskRecord | None: ...  # noqa: A002

    async def requests(
        self, query: RequestQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> RequestPage: ...

    async def request(self, id: str) -> RequestRecord | None: ...  # noqa: A002

    async def workers(
        self, query: WorkerQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> WorkerPage: ...

    async def counts(self, query: TaskQuery) -> list[TaskCount]:
        """The number of tasks by function, outcome and reason.

        All of them are read, 2 million a second: name a time, or as little else as there can be much of. Those in
        memory are counted while the database is out of reach. Raises `TooMany` where it has no answer within 5 s.
        """
        ...

    async def close(self, within_s: float = 2.0) -> None:
        """Writes what is not written yet, as far as that can be done in this time. Nothing may be told afterwards."""


def checked(cursor: str | None, limit: int) -> tuple[int, str | None]:
    """The limit within its bounds, and the cursor in canonical form. Raises ValueError."""
    try:
        return max(1, min(limit, MAX_LIMIT)), str(UUID(cursor)) if cursor is not None else None
    except ValueError:
        raise ValueError(f"{cursor!r} is not a cursor of a page") from None
