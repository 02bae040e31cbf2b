"""What waits to be written: bounded, each record once, however often it was told of."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from outlast.core.records import RequestRecord, TaskRecord, WorkerRecord

R = TypeVar("R", TaskRecord, WorkerRecord, RequestRecord)

BATCH = 4_000
"""Records that are written together."""


@dataclass(slots=True)
class Batch(Generic[R]):
    """Records to be written."""

    new: list[R]
    """None of them has been in a batch before."""
    again: list[R]
    """Those that may have been written already: as open ones, or without an answer."""

    def __len__(self) -> int:
        return len(self.new) + len(self.again)


class Buffer(Generic[R]):
    def __init__(self, capacity: int, wake: Callable[[], None]) -> None:
        """``wake``: called when there is something after there was nothing, and when a batch is full."""
        self.dropped = 0
        """Records that had ended, and of which nobody will hear any more."""
        self._capacity = capacity
        self._wake = wake
        self._waiting: OrderedDict[str, R] = OrderedDict()
        # Ids of what has been in a batch, and is open or waits again.
        self._known: set[str] = set()
        # Ids of what waits and has stayed once.
        self._stayed: set[str] = set()

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

    def take(self, *, at_once: bool = False) -> Batch[R]:
        """The oldest that make up a batch. Whoever takes them writes them, or gives them back.

        What is open stays for one time, because most of it has settled by the next, and is written once. With
        ``at_once`` it does not.
        """
        waiting, known, stayed = self._waiting, self._known, self._stayed
        batch: Batch[R] = Batch([], [])
        left: list[R] = []
        while waiting and len(batch) < BATCH:
            for record in self._pop_first(BATCH - len(batch)):
                is_open = record.is_open
                if known and record.id in known:
                    batch.again.append(record)
                    if not is_open:
                        known.remove(record.id)
                elif not is_open:
                    batch.new.append(record)
                elif at_once or record.id in stayed:
                    batch.new.append(record)
                    known.add(record.id)
                else:
                    left.append(record)
        self._put_first(left)
        self._stayed = {id_ for id_ in stayed if id_ in waiting}
        self._stayed.update(record.id for record in left)
        return batch

    def give_back(self, batch: Batch[R]) -> None:
        self._known.update(record.id for record in batch.new)
        self._known.update(record.id for record in batch.again)
        self._put_first(batch.again + batch.new)
        while len(self) > self._capacity:
            self._drop_oldest()

    def _pop_first(self, count: int) -> list[R]:
        if len(self._waiting) > count:
            return [self._waiting.popitem(last=False)[1] for _ in range(count)]
        records = list(self._waiting.values())
        self._waiting.clear()
        return records

    def _put_first(self, records: list[R]) -> None:
        waiting = self._waiting
        for record in reversed(records):
            waiting[record.id] = record
            waiting.move_to_end(record.id, last=False)

    def _drop_oldest(self) -> None:
        id_, record = self._waiting.popitem(last=False)
        # One that is open will be told of again when it ends, with all that there is to know.
        if not record.is_open:
            self.dropped += 1
            self._known.discard(id_)
