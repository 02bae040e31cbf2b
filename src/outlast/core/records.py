"""The records of background tasks, workers and requests, and the queries for them."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from outlast.core import ids
from outlast.core.language import Language
from outlast.core.outcome import EndReason, TaskOutcome

MAX_NAME_CHARS = 200
"""Names are chosen by the function. A longer one helps nobody, and would not fit into an index."""
MAX_ERROR_CHARS = 8_192


class TaskRecord(msgspec.Struct, gc=False, kw_only=True):
    """One background task. It is open until it has an ``outcome``.

    Whoever started it records its end with `settle`; nothing changes after that.
    """

    id: str
    """A UUID of version 7, which sorts by the time the task was started."""
    function: str
    language: Language
    name: str | None = None
    request_id: str | None = None
    """None for a task of the module's top level."""
    execution_id: str
    """The worker that ran it."""
    node: str
    started: datetime
    settled: datetime | None = None
    outcome: TaskOutcome | None = None
    reason: EndReason | None = None
    """Why it was interrupted; None for every other outcome."""
    error: str | None = None
    """What it threw, with its stack; for an interrupted task, what ended its worker, as exactly as is known."""
    ms: float | None = None
    cpu_ms: float | None = None
    """Not known of any: tasks and requests take turns in a worker, whose CPU time the system counts as a whole."""

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    def settle(
        self, outcome: TaskOutcome, at: datetime, ms: float, reason: EndReason | None = None, error: str = ""
    ) -> None:
        self.outcome = outcome
        self.settled = at
        self.ms = ms
        # Nearly all tasks have neither, and this is called for each.
        if reason is not None:
            self.reason = reason
        if error:
            self.error = printable(error, MAX_ERROR_CHARS)


class WorkerRecord(msgspec.Struct, gc=False, kw_only=True):
    """One life of one worker process. It is alive until ``ended`` is filled in."""

    id: str
    """The execution id: a UUID of version 7."""
    function: str
    language: Language
    node: str
    started: datetime
    """When its process was started, which for a standby is before it was needed."""
    ready: datetime | None = None
    ended: datetime | None = None
    reason: EndReason | None = None
    error: str | None = None
    """Why it failed to boot."""
    requests: int = 0
    tasks: int = 0
    ms: float | None = None
    cpu_ms: float | None = None
    memory_mb: float | None = None

    @property
    def is_open(self) -> bool:
        return self.ended is None


class RequestRecord(msgspec.Struct, gc=False, kw_only=True, frozen=True):
    """One request, when it has ended."""

    id: str
    """``sb-request-id`` of its response: a UUID of version 7."""
    function: str | None
    """None if there is no such function."""
    execution_id: str | None
    node: str
    method: str
    path: str
    status: int
    """0 if the client left before there was a response."""
    received: datetime
    first_byte_ms: float | None
    """From ``received`` to the first byte of the response."""
    ms: float
    """From ``received`` to the end of the response."""
    error: str | None = None
    """What was wrong with it, if the gateway refused it; or why the response, or a part of it, is missing."""

    @property
    def is_open(self) -> bool:
        return False


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How many days' and how many records are kept; 0: all."""

    days: int = 30
    tasks: int = 1_000_000
    requests: int = 1_000_000


DEFAULT_RETENTION = Retention()

Record = TaskRecord | WorkerRecord | RequestRecord


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Asks for the records that match everything given. Names are compared exactly."""

    function: str | None = None
    since: datetime | None = None
    """Started (requests: received) at this moment or later, to the millisecond."""
    until: datetime | None = None
    """Started before this moment."""

    @property
    def lowest_id(self) -> str | None:
        """The least id that a record made at ``since`` or later can have."""
        return ids.first_of(self.since) if self.since is not None else None

    @property
    def bound_id(self) -> str | None:
        """Every record made before ``until`` has a lesser id."""
        return ids.first_of(self.until) if self.until is not None else None

    @property
    def fields(self) -> dict[str, object]:
        """The fields that a record must have, and their values; without the times."""
        names = (name for name in self.__struct_fields__ if name not in ("since", "until"))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def predicate(self) -> Callable[[Record], bool]:
        """Returns a function that says whether a record matches."""
        fields, lowest, bound = self.fields, self.lowest_id or "", self.bound_id or "g"

        def accepts(record: Record) -> bool:
            return lowest <= record.id < bound and all(getattr(record, name) == value for name, value in fields.items())

        return accepts


class TaskQuery(Query, frozen=True, kw_only=True):
    outcome: TaskOutcome | None = None
    reason: EndReason | None = None
    is_open: bool | None = None
    """True: only tasks that have not settled. False: only tasks that have."""
    name: str | None = None
    request_id: str | None = None


class RequestQuery(Query, frozen=True, kw_only=True):
    status: int | None = None


class WorkerQuery(Query, frozen=True, kw_only=True):
    is_open: bool | None = None
    """True: only workers that are alive. False: only workers that have ended."""


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[TaskRecord]
    cursor: str | None = None
    """Gets the next page; None: this is the last one."""


class RequestPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[RequestRecord]
    cursor: str | None = None


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[WorkerRecord]
    cursor: str | None = None


class TaskCount(msgspec.Struct, frozen=True, kw_only=True):
    function: str
    outcome: TaskOutcome | None
    """None: still open."""
    reason: EndReason | None
    count: int


def printable(text: str, longest: int) -> str | None:
    """Text from a worker as it can be stored: cut to ``longest`` characters, without NUL (databases refuse that).

    None for empty text.
    """
    if len(text) > longest or "\0" in text:
        text = text[:longest].replace("\0", "\ufffd")
    return text or None
