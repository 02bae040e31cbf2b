"""Buffers records that wait to be written: bounded, each record once, however often it was added.

Nearly all tasks settle before they are written. So one that starts is only appended to a list, and whether it is still
open is looked up when a batch is made.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
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
    """Records change in place: one that was open when it was added is looked at again when it is taken."""

    def __init__(self, capacity: int, wake: Callable[[], None]) -> None:
        """``capacity``: for records that have ended; open ones are not limited here.

        ``wake``: called when the first record comes, and when a batch is full.
        """
        self.dropped = 0
        """How many records were dropped for want of room."""
        self._capacity = capacity
        self._wake = wake
        # What was open when it was added, since the last call of `take`.
        self._opened: list[R] = []
        self._look_at = BATCH
        # What has stayed open once, oldest first.
        self._stayed: list[R] = []
        self._ended: deque[R] = deque()
        # Ids of what has been in a batch, and is open or waits again.
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self._ended) + len(self._open())

    @property
    def at_most(self) -> int:
        """No less than its length, and found at once."""
        return len(self._ended) + len(self._stayed) + len(self._opened)

    def add(self, record: R) -> None:
        if record.is_open:
            self.add_open(record)
        else:
            self.add_ended((record,))

    def add_open(self, record: R) -> None:
        """May be called again when the record has changed."""
        opened = self._opened
        opened.append(record)
        count = len(opened)
        if count == 1:
            self._wake()
        elif count >= self._look_at:
            # Nobody takes anything at present.
            self._opened = self._open()
            self._stayed.clear()
            self._look_at = max(BATCH, 2 * len(self._opened))

    def add_ended(self, records: Sequence[R]) -> None:
        """The records do not change any more."""
        ended = self._ended
        before = len(ended)
        ended.extend(records)
        count = len(ended)
        if not before or before < BATCH <= count:
            self._wake()
        while len(ended) > self._capacity:
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
        open_ = self._open()
        due = len(open_) if at_once else len(self._stayed)
        due = min(due, BATCH - len(batch))
        for record in open_[:due]:
            (batch.again if record.id in known else batch.new).append(record)
            known.add(record.id)
        self._stayed = open_[due:]
        self._opened = []
        self._look_at = BATCH
        return batch

    def give_back(self, batch: Batch[R]) -> None:
        """Takes back a batch, of which some may have been written."""
        if not len(batch):
            return
        have_ended = {record.id for record in self._ended}
        ended: list[R] = []
        for record in batch.again + batch.new:
            self._known.add(record.id)
            if record.is_open:
                self._opened.append(record)
            elif record.id not in have_ended:
                ended.append(record)
        self._ended.extendleft(reversed(ended))
        while len(self._ended) > self._capacity:
            self._drop_oldest()

    def _open(self) -> list[R]:
        """Each once, oldest first, those that have stayed before the others."""
        self._stayed = [record for record in self._stayed if record.is_open]
        opened = (record for record in self._opened if record.is_open)
        by_id = {record.id: record for record in itertools.chain(self._stayed, opened)}
        return list(by_id.values())

    def _drop_oldest(self) -> None:
        self._known.discard(self._ended.popleft().id)
        self.dropped += 1
