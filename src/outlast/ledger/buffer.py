"""What waits to be written: bounded, each record once, however often it was told of."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from outlast.core.records import RequestRecord, TaskRecord, WorkerRecord

R = TypeVar("R", TaskRecord, WorkerRecord, RequestRecord)

BATCH = 1_000
"""Records that are written together."""


class Buffer(Generic[R]):
    def __init__(self, capacity: int, wake: Callable[[], None]) -> None:
        """``wake``: called when there is something after there was nothing, and when a batch is full."""
        self.dropped = 0
        """Records that had ended, and of which nobody will hear any more."""
        self._capacity = capacity
        self._wake = wake
        self._waiting: OrderedDict[str, R] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: R) -> None:
        waiting = self._waiting
        waiting[record.id] = record
        count = len(waiting)
        if count == 1 or count == BATCH:
            self._wake()
        elif count > self._capacity:
            self._drop_oldest()

    def take(self) -> list[R]:
        """The oldest that make up a batch. Whoever takes them writes them, or gives them back."""
        count = min(len(self._waiting), BATCH)
        return [self._waiting.popitem(last=False)[1] for _ in range(count)]

    def give_back(self, batch: Sequence[R]) -> None:
        waiting = self._waiting
        for record in reversed(batch):
            waiting[record.id] = record
            waiting.move_to_end(record.id, last=False)
        while len(self) > self._capacity:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, record = self._waiting.popitem(last=False)
        # One that is open will be told of again when it ends, with all that there is to know.
        self.dropped += not record.is_open
