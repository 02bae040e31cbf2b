"""Encodes tasks for PostgreSQL's COPY, in its binary format (PostgreSQL's manual, "COPY", "Binary Format").

Nearly every task that is not in a batch (`outlast.ledger.batching`) goes this way. JSON would be made in half the
time, but parsing it costs PostgreSQL as much as all else that it does for a record. asyncpg's own encoding takes many
times as long as this one, which relies on nearly all tasks being fulfilled, and on those written together being of few
workers and having few names.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from struct import Struct

from outlast.core.outcome import TaskOutcome
from outlast.core.records import TaskRecord

COLUMNS = (
    *("function", "language", "execution_id", "node", "name", "outcome", "reason", "error", "cpu_ms"),
    *("id", "started", "settled", "ms", "request_id"),
)

ONE_BY_ONE = "random() >= 0"
"""A condition that is always true, with a function that PostgreSQL must not call in advance, which makes it insert each
row as it reads it. Otherwise it gathers a thousand, and what it notes for each costs more than that saves, because each
note is appended after all earlier ones (https://postgr.es/m/84f20db7-7d57-4dc0-8144-7e38e0bbe75d@vondra.me)."""

AT_ONCE = 100
"""This many records take the node a fifth of a millisecond, and PostgreSQL a whole one."""

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_COLUMN_COUNT = len(COLUMNS).to_bytes(2, "big")
_NULL = b"\xff\xff\xff\xff"
_DOUBLE = Struct("!id")
# The columns from ``id`` on, each with its size before it, up to the size of ``request_id``.
_SETTLED = Struct("!i16siqiqidi").pack
_OPEN = Struct("!i16siqiii").pack
_IDS = Struct("16s").iter_unpack
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FULFILLED = TaskOutcome.FULFILLED


async def rows(records: Sequence[TaskRecord], within_s: float) -> AsyncIterator[bytes]:
    """The bytes for COPY, in pieces between which the event loop gets a turn; spread over ``within_s``.

    Raises UnicodeEncodeError for text that no database can store.
    """
    encoder = _Encoder()
    pause_s = within_s * AT_ONCE / max(len(records), AT_ONCE)
    yield HEADER
    for first in range(0, len(records), AT_ONCE):
        yield encoder.rows(records[first : first + AT_ONCE])
        await asyncio.sleep(pause_s)
    yield TRAILER


async def whole(rows: Iterable[bytes]) -> AsyncIterator[bytes]:
    """As `rows`, in one piece, of rows that are encoded already."""
    yield b"".join((HEADER, *rows, TRAILER))


class _Encoder:
    """Encodes one batch."""

    def __init__(self) -> None:
        # The beginnings of rows of fulfilled tasks.
        self._begins: dict[tuple[str, str | None], bytes] = {}
        self._started = self._settled = _EPOCH
        self._started_us = self._settled_us = 0

    def rows(self, records: Sequence[TaskRecord]) -> bytes:
        begins, pieces = self._begins, list[bytes]()
        # Successive records mostly have the same times, and then the same datetime objects.
        started, started_us, settled, settled_us = self._started, self._started_us, self._settled, self._settled_us
        ids = bytes.fromhex("".join([record.id for record in records]).replace("-", ""))
        for record, (id_,) in zip(records, _IDS(ids), strict=True):
            if record.outcome is _FULFILLED and record.reason is None is record.error and record.cpu_ms is None:
                kind = (record.execution_id, record.name)
                begin = begins.get(kind)
                if begin is None:
                    begin = begins[kind] = _begin(record)
            else:
                begin = _begin(record)
            if record.request_id is None:
                request_id, size = b"", -1
            else:
                request_id = record.request_id.encode()
                size = len(request_id)
            if record.started is not started:
                started = record.started
                started_us = microseconds(started)
            if record.settled is None:
                fixed = _OPEN(16, id_, 8, started_us, -1, -1, size)
            else:
                if record.settled is not settled:
                    settled = record.settled
                    settled_us = microseconds(settled)
                fixed = _SETTLED(16, id_, 8, started_us, 8, settled_us, 8, record.ms, size)
            pieces += (begin, fixed, request_id)
        self._started, self._started_us, self._settled, self._settled_us = started, started_us, settled, settled_us
        return b"".join(pieces)


def _begin(record: TaskRecord) -> bytes:
    """Encodes the columns before ``id``."""
    cpu_ms = _DOUBLE.pack(8, record.cpu_ms) if record.cpu_ms is not None else _NULL
    texts = (text(record.name), text(record.outcome), text(record.reason), text(record.error))
    worker = (text(record.function), text(record.language), uuid(record.execution_id), uuid(record.node))
    return b"".join((_COLUMN_COUNT, *worker, *texts, cpu_ms))


def uuid(value: str) -> bytes:
    return (16).to_bytes(4, "big") + bytes.fromhex(value.replace("-", ""))


def text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


def microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
