"""What the ledger is told of workers and their tasks."""

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from outlast.config.settings import FunctionSettings
from outlast.core import ids
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import MAX_ERROR_CHARS, MAX_NAME_CHARS, TaskRecord, WorkerRecord, printable
from outlast.ledger.ledger import Ledger
from outlast.supervisor.ending import End
from outlast.wire import messages

# Ids need not be secret, only unlike each other.
_ids = ids.Sequence(random.Random().getrandbits)  # noqa: S311


@dataclass(frozen=True)
class Register:
    """Of a node."""

    ledger: Ledger
    node: str
    """Its id, a UUID."""

    def life(self, execution_id: str, function: FunctionSettings) -> "Life":
        """Begins that of a worker."""
        return Life(self, execution_id, function)


class Life:
    """Of one worker."""

    __slots__ = ("_function", "_language", "_ledger", "_record")

    def __init__(self, register: Register, execution_id: str, function: FunctionSettings) -> None:
        self._ledger = register.ledger
        self._function = function.name
        self._language = function.language
        self._record = WorkerRecord(
            id=execution_id,
            function=function.name,
            language=function.language,
            node=register.node,
            started=datetime.now(UTC),
        )
        self._ledger.worker_started(self._record)

    def task_started(self, message: messages.TaskStarted) -> TaskRecord:
        worker = self._record
        worker.tasks += 1
        # What a worker says is not trusted, not even to be short.
        record = TaskRecord(
            id=_ids.next(time.time_ns() // 1_000_000),
            function=self._function,
            language=self._language,
            name=printable(message.name, MAX_NAME_CHARS),
            request_id=printable(message.request, MAX_NAME_CHARS),
            execution_id=worker.id,
            node=worker.node,
            started=datetime.now(UTC),
        )
        self._ledger.task_started(record)
        return record

    def task_settled(self, record: TaskRecord, outcome: TaskOutcome, ms: float, error: str) -> None:
        record.settle(outcome, datetime.now(UTC), ms, error=error)
        self._ledger.task_settled(record)

    def task_cut_off(self, record: TaskRecord, reason: EndReason, ms: float) -> None:
        record.settle(TaskOutcome.INTERRUPTED, datetime.now(UTC), ms, reason=reason)
        self._ledger.task_settled(record)

    def ready(self) -> None:
        self._record.ready = datetime.now(UTC)
        self._ledger.worker_changed(self._record)

    def ended(self, end: End, requests: int) -> None:
        record, used = self._record, end.used
        record.ended = datetime.now(UTC)
        record.ms = (record.ended - record.started).total_seconds() * 1000
        record.reason = end.reason
        record.error = printable(end.boot_error or "", MAX_ERROR_CHARS)
        record.requests = requests
        record.cpu_ms, record.memory_mb = used.cpu_ms, used.memory_mb
        self._ledger.worker_changed(record)
