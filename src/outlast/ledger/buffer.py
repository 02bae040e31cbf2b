"""Buffers records that wait to be written: bounded, each record once, however often it was added.

Nearly all tasks settle before they are written, so open ones are kept apart, where removing them is cheap.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from outlast.core.records import RequestRecord, TaskRecord, WorkerRecord

R = TypeVar("R", TaskRecord, WorkerRecord, RequestRecord)

BATCH = 4_000
"""How many records are written together."""


@dataclass(slots=True)
class Batch(Generic[R]):
    """Records to be written."""

    new: list[R]
    """Records that have not been in a batch before."""
    again: list[R]
    """Records that may have been written already: as open ones, or without confirmation."""

    def __len__(self) -> int:
        return len(self.new) + len(self.again)


class Buffer(Generic[R]):
    def __init__(self, capacity: int, wake: Callable[[], None]) -> None:
        """``capacity``: for records that have ended; open ones are not limited here.

        ``wake``: called when the first record comes, and when a batch is full.
        """
        self.dropped = 0
        """How many records were dropped for want of room."""
        self._capacity = capacity
        self._wake = wake
        self._open: dict[str, R] = {}
        self._ended: deque[R] = deque()
        # Ids of what has been in a batch, and is open or waits again.
        self._known: set[str] = set()
        # Ids of what is open, waits and has stayed once.
        self._stayed: set[str] = set()

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def add(self, record: R) -> None:
        if record.is_open:
            self.add_open(record)
        else:
            self.add_ended(record)

    def add_open(self, record: R) -> None:
        """May be called again when the record has changed."""
        waiting = self._open
        waiting[record.id] = record
        if len(waiting) == 1:
            self._wake()

    def add_ended(self, record: R) -> None:
        """The record does not change any more."""
        self._open.pop(record.id, None)
        ended = self._ended
        ended.append(record)
        count = len(ended)
        if count == 1 or count == BATCH:
            self._wake()
        elif count > self._capacity:
            self._drop_oldest()

    def take(self, *, at_once: bool = False) -> Batch[R]:
        """Takes the oldest records, up to a batch. Whoever takes them writes them, or gives them back.

        An open record stays for one more call, because most settle by then and are written once. With ``at_once`` it
        does not.
        """
        known = self._known
        ended = self._ended
        batch: Batch[R] = Batch([ended.popleft() for _ in range(min(BATCH, len(ended)))], [])
        if known:
            batch.again = [record for record in batch.new if record.id in known]
            batch.new = [record for record in batch.new if record.id not in known]
            known.difference_update(record.id for record in batch.again)
        for id_ in [*self._open]:
            if len(batch) >= BATCH:
                break
            if at_once or id_ in self._stayed:
                (batch.again if id_ in known else batch.new).append(self._open.pop(id_))
                known.add(id_)
        self._stayed = set(self._open)
        return batch

    def give_back(self, batch: Batch[R]) -> None:
        """Takes back a batch, of which some may have been written."""
        have_ended = {record.id for record in self._ended}
        ended: list[R] = []
        for record in batch.again + batch.new:
            self._known.add(record.id)
            if record.is_open:
                self._open[record.id] = record
            elif record.id not in have_ended:
                ended.append(record)
        self._ended.extendleft(reversed(ended))
        while len(self._ended) > self._capacity:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._known.discard(self._ended.popleft().id)
        self.dropped += 1
