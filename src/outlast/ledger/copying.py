"""Tasks as PostgreSQL's COPY takes them, in its binary format (PostgreSQL's manual, "COPY", "Binary Format").

Nearly every task of a busy node goes this way. JSON is made in half the time, but to take it apart costs PostgreSQL as
much as all the rest that it does for a record. asyncpg's own encoding takes three times as long as this one, which
knows that most of what is in a batch is the same in many of its records.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import TypeVar

from outlast.core.records import TaskRecord

COLUMNS = (
    *("function", "language", "execution_id", "node", "name", "outcome", "reason"),
    *("started", "settled", "ms", "cpu_ms", "id", "request_id", "error"),
)

ONE_BY_ONE = "random() >= 0"
"""A condition that is always true, with a function that PostgreSQL must not call in advance: so it inserts each row when it
has read it. Else it gathers a thousand, and what it notes for each of them costs more than is saved, as each note goes
behind all those before (https://postgr.es/m/84f20db7-7d57-4dc0-8144-7e38e0bbe75d@vondra.me)."""

AT_ONCE = 200
"""So many records take the node half a millisecond."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_COLUMN_COUNT = len(COLUMNS).to_bytes(2, "big")
_NULL = b"\xff\xff\xff\xff"
_UUID_SIZE = (16).to_bytes(4, "big")
_LONG, _DOUBLE = Struct("!iq"), Struct("!id")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class _Encoded(dict[T | None, bytes]):
    """Values of which a batch has only a few, each of them encoded once."""

    def __init__(self, encode: Callable[[T], bytes]) -> None:
        super().__init__({None: _NULL})
        self._encode = encode

    def __missing__(self, value: T) -> bytes:
        self[value] = data = self._encode(value)
        return data


async def rows(records: Sequence[TaskRecord]) -> AsyncIterator[bytes]:
    """What COPY reads, in pieces, between which the event loop has its turn. Raises UnicodeEncodeError for what no
    database can keep."""
    encoder = _Encoder()
    yield _HEADER
    for first in range(0, len(records), AT_ONCE):
        yield encoder.rows(records[first : first + AT_ONCE])
        await asyncio.sleep(0)
    yield _TRAILER


class _Encoder:
    """Of one batch."""

    def __init__(self) -> None:
        self._lives: dict[str, bytes] = {}
        self._texts, self._moments, self._numbers = _Encoded(_text), _Encoded(_moment), _Encoded(_number)

    def rows(self, records: Iterable[TaskRecord]) -> bytes:
        lives, texts, moments, numbers = self._lives, self._texts, self._moments, self._numbers
        pieces: list[bytes] = []
        for record in records:
            life = lives.get(record.execution_id)
            if life is None:
                life = lives[record.execution_id] = _life(record)
            error, request_id = record.error, record.request_id
            pieces += (
                life,
                texts[record.name],
                texts[record.outcome],
                texts[record.reason],
                moments[record.started],
                moments[record.settled],
                numbers[record.ms],
                numbers[record.cpu_ms],
                # These are not likely to come twice.
                _UUID_SIZE,
                bytes.fromhex(record.id.replace("-", "")),
                _text(request_id) if request_id is not None else _NULL,
                _text(error) if error is not None else _NULL,
            )
        return b"".join(pieces)


def _life(record: TaskRecord) -> bytes:
    """How each row of a worker's life begins: all of its tasks are of one function and one node."""
    life, node = _uuid(record.execution_id), _uuid(record.node)
    return b"".join((_COLUMN_COUNT, _text(record.function), _text(record.language), life, node))


def _uuid(value: str) -> bytes:
    return _UUID_SIZE + bytes.fromhex(value.replace("-", ""))


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


def _moment(value: datetime) -> bytes:
    since = value - _EPOCH
    return _LONG.pack(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _number(value: float) -> bytes:
    return _DOUBLE.pack(8, value)
