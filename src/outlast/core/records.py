"""What is kept of every background task, every worker's life and every request, and what can be asked of it."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from outlast.core import ids
from outlast.core.language import Language
from outlast.core.outcome import EndReason, TaskOutcome

MAX_NAME_CHARS = 200
"""A name is whatever the function says; more of it than this tells nobody anything, and would not fit an index."""
MAX_ERROR_CHARS = 8_192
TRACEBACKS = ("Traceback (", "  + Exception Group Traceback (")
"""What the stack of a Python error begins with."""
_OF_GROUP = "  | "


class TaskRecord(msgspec.Struct, gc=False, kw_only=True):
    """One background task. It is open until it has an ``outcome``.

    Whoever started it fills in how it ended, with `settle`; nothing changes after that.
    """

    id: str
    """A UUID of version 7: sorts by the time at which the task was started."""
    function: str
    language: Language
    name: str | None = None
    request_id: str | None = None
    """None for a task of the module's top level."""
    execution_id: str
    """The worker's life that it belongs to."""
    node: str
    started: datetime
    settled: datetime | None = None
    outcome: TaskOutcome | None = None
    reason: EndReason | None = None
    """Why it was interrupted; None for every other outcome."""
    error: str | None = None
    """What it threw, with its stack; of one that was interrupted, what ended its worker, as exactly as is known."""
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
        # Of nearly all tasks there is no more to say, and of these there are many.
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
    """When its process was; one that comes out of standby was started before it was needed."""
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
    """``sb-request-id`` of its answer: a UUID of version 7."""
    function: str | None
    """None where it was for none that is served."""
    execution_id: str | None
    node: str
    method: str
    path: str
    status: int
    """0 if the client left before there was an answer."""
    received: datetime
    first_byte_ms: float | None
    """From ``received`` to the first byte of the answer."""
    ms: float
    """From ``received`` to the end of the answer."""
    error: str | None = None
    """What was wrong with it, where the gateway refused it; why its answer, or a part of that, is missing."""

    @property
    def is_open(self) -> bool:
        return False


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept; 0: all."""

    days: int = 30
    tasks: int = 1_000_000
    requests: int = 1_000_000


DEFAULT_RETENTION = Retention()

Record = TaskRecord | WorkerRecord | RequestRecord


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which records are asked for: those that have all of what is given. Names are compared as they are."""

    function: str | None = None
    since: datetime | None = None
    """Started (of requests: received) then or later, to the millisecond."""
    until: datetime | None = None
    """Started before."""

    @property
    def lowest_id(self) -> str | None:
        """The ids of what was made at ``since`` or later are not less than this."""
        return first_id(self.since) if self.since is not None else None

    @property
    def bound_id(self) -> str | None:
        """The ids of what was made before ``until`` are less than this."""
        return first_id(self.until) if self.until is not None else None

    @property
    def fields(self) -> dict[str, object]:
        """What the fields of a record have to be, for those that are given."""
        names = (name for name in self.__struct_fields__ if name not in ("since", "until"))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def predicate(self) -> Callable[[Record], bool]:
        """Whether a record is among those asked for."""
        fields, lowest, bound = self.fields, self.lowest_id or "", self.bound_id or "g"

        def accepts(record: Record) -> bool:
            return lowest <= record.id < bound and all(getattr(record, name) == value for name, value in fields.items())

        return accepts


class TaskQuery(Query, frozen=True, kw_only=True):
    outcome: TaskOutcome | None = None
    reason: EndReason | None = None
    is_open: bool | None = None
    """True: only those that have not settled. False: only those that have."""
    name: str | None = None
    request_id: str | None = None


class RequestQuery(Query, frozen=True, kw_only=True):
    status: int | None = None


class WorkerQuery(Query, frozen=True, kw_only=True):
    is_open: bool | None = None
    """True: only those alive."""


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[TaskRecord]
    cursor: str | None = None
    """Where to go on; None: there are no more."""


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


def first_id(moment: datetime) -> str:
    """The least id that something made at this moment, to the millisecond, can have."""
    return ids.uuid7(max(0, int(moment.timestamp() * 1000)), 0)


def moment_of(uuid7: str) -> datetime:
    """When an id was made, to the millisecond. Raises ValueError for what is no UUID."""
    return datetime.fromtimestamp(int(uuid7.replace("-", "")[:12], 16) / 1000, UTC)


def gist(error: str) -> str:
    """Of an error with its stack, the one line that says what it is."""
    lines = error.strip("\n").splitlines() or [""]
    # Python tells it behind the stack; of errors that led to one another, the last one is what it came to.
    headings = [index for index, line in enumerate(lines) if line.startswith(TRACEBACKS)]
    rest = lines[headings[-1] + 1 :] if headings else lines
    return next((line for line in (line.removeprefix(_OF_GROUP) for line in rest) if line[:1].strip()), lines[0])


def printable(text: str, longest: int) -> str | None:
    """What a worker says, as it can be kept: no longer than this, and without NUL, which databases refuse in a text."""
    if len(text) > longest or "\0" in text:
        text = text[:longest].replace("\0", "\ufffd")
    return text or None
