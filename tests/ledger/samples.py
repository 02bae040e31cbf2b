"""Records as a node makes them."""

import functools
import random
import time
from datetime import UTC, datetime, timedelta

from outlast.core import ids
from outlast.core.language import Language
from outlast.core.outcome import TaskOutcome
from outlast.core.records import RequestRecord, TaskRecord, WorkerRecord
from outlast.ledger.ledger import Ledger

_ids = ids.Sequence(random.Random().getrandbits)
NODE = ids.uuid7(1, 1)
BEGIN = datetime.now(UTC) - timedelta(hours=1)


def new_id(moment: datetime | None = None) -> str:
    if moment is not None:
        return ids.uuid7(int(moment.timestamp() * 1000), random.getrandbits(ids.RANDOM_BITS))
    return _ids.next(time.time_ns() // 1_000_000)


@functools.cache
def life(function: str, node: object) -> str:
    """The id of the one worker that a function has on a node."""
    return new_id()


def task(function: str = "hello", at: datetime | None = None, **fields: object) -> TaskRecord:
    at = at or datetime.now(UTC)
    node = fields.pop("node", NODE)
    given = {"execution_id": life(function, node), "node": node, "language": Language.TYPESCRIPT, **fields}
    return TaskRecord(id=new_id(at), function=function, started=at, **given)  # type: ignore[arg-type]


def settled(record: TaskRecord, outcome: TaskOutcome = TaskOutcome.FULFILLED, **fields: object) -> TaskRecord:
    record.settle(outcome, record.started + timedelta(milliseconds=5), 5.0, **fields)  # type: ignore[arg-type]
    return record


def tell_settled(ledger: Ledger, record: TaskRecord) -> None:
    ledger.task_started(record)
    ledger.tasks_settled([settled(record)])


def worker(function: str = "hello", at: datetime | None = None, **fields: object) -> WorkerRecord:
    at = at or datetime.now(UTC)
    given = {"node": NODE, "language": Language.PYTHON, **fields}
    return WorkerRecord(id=new_id(at), function=function, started=at, **given)  # type: ignore[arg-type]


def request(function: str | None = "hello", at: datetime | None = None, **fields: object) -> RequestRecord:
    at = at or datetime.now(UTC)
    given = {"execution_id": NODE, "node": NODE, "method": "GET", "path": "/hello", "status": 200, **fields}
    return RequestRecord(id=new_id(at), function=function, received=at, first_byte_ms=1.5, ms=2.5, **given)  # type: ignore[arg-type]
