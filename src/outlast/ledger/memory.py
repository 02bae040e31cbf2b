"""A ledger in memory: bounded, available from the first moment, and gone with the node."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from outlast.core.records import (
    Query,
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
from outlast.ledger.ledger import DEFAULT_LIMIT, P, Status, checked

_R = TypeVar("_R", TaskRecord, WorkerRecord, RequestRecord)

DEFAULT_CAPACITY = 10_000


class MemoryLedger:
    """Implements `outlast.ledger.ledger.Ledger`. Keeps the latest ``capacity`` records of each kind."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._tasks: deque[TaskRecord] = deque(maxlen=capacity)
        self._workers: deque[WorkerRecord] = deque(maxlen=capacity)
        self._requests: deque[RequestRecord] = deque(maxlen=capacity)
        # Records are changed in place, so there is nothing to do when one has changed.
        self.task_started = self._tasks.append
        self.worker_started = self._workers.append
        self.request_ended = self._requests.append

    def tasks_settled(self, records: Sequence[TaskRecord]) -> None:
        pass

    def worker_changed(self, record: WorkerRecord) -> None:
        pass

    @property
    def status(self) -> Status:
        return Status(backend="memory", connected=False, backlog=0, written=0, dropped=0)

    async def tasks(self, query: TaskQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> TaskPage:
        return _page(TaskPage, self._tasks, query, cursor, limit)

    async def task(self, id: str) -> TaskRecord | None:  # noqa: A002
        return next((record for record in self._tasks if record.id == id), None)

    async def requests(self, query: RequestQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> RequestPage:
        return _page(RequestPage, self._requests, query, cursor, limit)

    async def request(self, id: str) -> RequestRecord | None:  # noqa: A002
        return next((record for record in self._requests if record.id == id), None)

    async def workers(self, query: WorkerQuery, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> WorkerPage:
        return _page(WorkerPage, self._workers, query, cursor, limit)

    async def counts(self, query: TaskQuery) -> list[TaskCount]:
        found = Counter((task.function, task.outcome, task.reason) for task in _found(self._tasks, query))
        return [
            TaskCount(function=function, outcome=outcome, reason=reason, count=count)
            for (function, outcome, reason), count in sorted(found.items(), key=lambda item: [*map(str, item[0])])
        ]

    async def close(self, within_s: float = 2.0) -> None:
        pass


def _found(records: Iterable[_R], query: Query) -> Iterator[_R]:
    return filter(query.predicate(), records)


def _page(page: type[P], records: Iterable[Any], query: Query, cursor: str | None, limit: int) -> P:
    limit, before = checked(cursor, limit)
    found = [record for record in _found(records, query) if before is None or record.id < before]
    # Requests are reported when they end, which is not the order in which they came.
    found.sort(key=lambda record: record.id, reverse=True)
    return page(items=found[:limit], cursor=found[limit - 1].id if len(found) > limit else None)
