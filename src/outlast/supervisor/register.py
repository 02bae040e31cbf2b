"""Records workers and their tasks in the ledger."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import msgspec

from outlast.config.settings import FunctionSettings
from outlast.core import ids
from outlast.core.outcome import TaskOutcome
from outlast.core.records import MAX_ERROR_CHARS, MAX_NAME_CHARS, TaskRecord, WorkerRecord, printable
from outlast.ledger.ledger import Ledger
from outlast.supervisor.ending import End
from outlast.wire import messages

_T = TypeVar("_T")

# Ids need not be secret, only unique.
_ids = ids.Sequence(random.Random().getrandbits)  # noqa: S311


class Moment(msgspec.Struct, frozen=True, gc=False):
    """The time by each clock, read once for all messages that come together."""

    loop_s: float
    """The event loop's."""
    unix_ms: int
    at: datetime


class Observer(Protocol):
    """Hears of every task as it starts and settles. Must not raise, and must not take long."""

    def task_started(self, record: TaskRecord) -> None: ...

    def tasks_settled(self, records: Sequence[TaskRecord]) -> None: ...


class Register:
    """One for a node. Create it inside a running event loop."""

    def __init__(self, ledger: Ledger, node: str, observer: Observer | None = None) -> None:
        """``node``: its id, a UUID. ``observer``: hears of tasks in addition to the ledger."""
        self.ledger = ledger
        self.task_started: Callable[[TaskRecord], None] = ledger.task_started
        self.tasks_settled: Callable[[Sequence[TaskRecord]], None] = ledger.tasks_settled
        if observer is not None:
            self.task_started = _both(ledger.task_started, observer.task_started)
            self.tasks_settled = _both(ledger.tasks_settled, observer.tasks_settled)
        self.node = node
        self._loop_time = asyncio.get_running_loop().time
        self._unix_ms = 0
        self._at = datetime.fromtimestamp(0, UTC)

    def now(self) -> Moment:
        """Precise to the millisecond. Calls within one share the ``datetime``, which is the costly part."""
        unix_ms = time.time_ns() // 1_000_000
        if unix_ms != self._unix_ms:
            self._unix_ms = unix_ms
            self._at = datetime.fromtimestamp(unix_ms / 1000, UTC)
        return Moment(self._loop_time(), unix_ms, self._at)


class Life:
    """The record of one worker, and those of its tasks."""

    __slots__ = ("_began_s", "_record", "_started", "_worker_changed", "now", "tasks_settled")

    def __init__(self, register: Register, execution_id: str, function: FunctionSettings) -> None:
        self.now = register.now
        self._started = register.task_started
        self.tasks_settled = register.tasks_settled
        """Call it with records that have been settled."""
        self._worker_changed = register.ledger.worker_changed
        began = register.now()
        self._began_s = began.loop_s
        self._record = WorkerRecord(
            id=execution_id,
            function=function.name,
            language=function.language,
            node=register.node,
            started=began.at,
        )
        register.ledger.worker_started(self._record)

    def task_started(self, message: messages.TaskStarted, moment: Moment) -> TaskRecord:
        worker = self._record
        worker.tasks += 1
        # What a worker says is not trusted, not even to be short.
        record = TaskRecord(
            id=_ids.next(moment.unix_ms),
            function=worker.function,
            language=worker.language,
            name=printable(name, MAX_NAME_CHARS) if (name := message.name) else None,
            request_id=printable(message.request, MAX_NAME_CHARS),
            execution_id=worker.id,
            node=worker.node,
            started=moment.at,
        )
        self._started(record)
        return record

    def task_cut_off(self, record: TaskRecord, end: End, ms: float) -> None:
        record.settle(TaskOutcome.INTERRUPTED, self.now().at, ms, end.reason, end.words)
        self.tasks_settled((record,))

    def ready(self) -> None:
        self._record.ready = self.now().at
        self._worker_changed(self._record)

    def ended(self, end: End, requests: int) -> None:
        record, used, now = self._record, end.used, self.now()
        record.ended = now.at
        # Not from the times, which may be from before and after a setting of the clock.
        record.ms = (now.loop_s - self._began_s) * 1000
        record.reason = end.reason
        record.error = printable(end.boot_error or "", MAX_ERROR_CHARS)
        record.requests = requests
        record.cpu_ms, record.memory_mb = used.cpu_ms, used.memory_mb
        self._worker_changed(record)


def _both(first: Callable[[_T], None], second: Callable[[_T], None]) -> Callable[[_T], None]:
    def tell(what: _T) -> None:
        first(what)
        second(what)

    return tell
