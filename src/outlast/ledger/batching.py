"""Encodes many fulfilled tasks of one worker and one name as one row of arrays, for COPY.

See ``outlast.task_batches`` in ``outlast/database/migrations``. When a task was started is in its id, to the
millisecond.
"""

import sys
from array import array
from binascii import unhexlify
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from struct import Struct
from typing import Any, NamedTuple

from outlast.core.ids import uuid7
from outlast.core.outcome import TaskOutcome
from outlast.core.records import TaskRecord
from outlast.ledger.copying import microseconds, text, uuid

COLUMNS = (
    *("last_id", "first_id", "function", "language", "name", "execution_id", "node"),
    *("count", "ids", "request_ids", "settled", "ms"),
)
FEWEST = 25
"""Fewer tasks than that are written singly."""
MOST = 500
"""Encoding so many takes the node half a millisecond, and a question may have to unpack all of them."""
SPAN_MS = 5_000
"""What is in a batch was started, and requested, within this time. So whoever knows when a task or a request was made
knows which batches can contain it. In SQL it is `outlast.five_seconds_after`."""

_FULFILLED = TaskOutcome.FULFILLED
_id_of = attrgetter("id")
_ID = 36
"""Characters of an id."""
_DASHES = (8, 13, 18, 23)
_UP_TO_MS = 13
"""The characters of an id that say in which millisecond it was made."""
_COLUMN_COUNT = len(COLUMNS).to_bytes(2, "big")
_COUNT = Struct("!ii").pack
_ARRAY = Struct("!iiiiii").pack
# Type ids of PostgreSQL, from its catalog file ``pg_type.dat``.
_UUID, _TIMESTAMPTZ, _FLOAT8 = 2950, 1184, 701


def split(records: Sequence[TaskRecord]) -> tuple[list[list[TaskRecord]], list[TaskRecord]]:
    """Returns groups for `encode`, and those that must be written singly.

    Each group is of one worker and one name, and is sorted by id.
    """
    groups: dict[tuple[str, str | None], list[TaskRecord]] = {}
    others: list[TaskRecord] = []
    for record in records:
        if (
            record.outcome is _FULFILLED
            and record.request_id is not None
            and record.reason is None is record.error
            and record.cpu_ms is None
        ):
            kind = (record.execution_id, record.name)
            group = groups.get(kind)
            if group is None:
                groups[kind] = [record]
            else:
                group.append(record)
        else:
            others.append(record)
    large: list[list[TaskRecord]] = []
    for group in groups.values():
        # So that the groups overlap in time as little as they can: a question has fewer of them to unpack.
        group.sort(key=_id_of)
        for first in range(0, len(group), MOST):
            part = group[first : first + MOST]
            if len(part) < FEWEST:
                others += part
            else:
                large.append(part)
    return large, others


class Encoded(NamedTuple):
    row: bytes
    """Empty if nothing fits into one."""
    records: list[TaskRecord]
    """What is in the row. Encoded again, it is the same row."""
    others: list[TaskRecord]
    """What must be written singly."""


def encode(group: list[TaskRecord]) -> Encoded:
    """Encodes a group of `split`, or as much of it as was started and requested within `SPAN_MS` and has proper ids."""
    worker, count = group[0], len(group)
    try:
        name = text(worker.name)
    except UnicodeEncodeError:
        return Encoded(b"", [], group)
    ids = [record.id for record in group]
    # A worker may say anything.
    request_ids = [record.request_id or "" for record in group]
    last, first = ids[-1], min(ids[0], min(request_ids))
    earliest = uuid7(max(0, int(last[:8] + last[9:_UP_TO_MS], 16) - SPAN_MS + 1), 0)
    requests = _uuids(request_ids)
    if requests is None or first < earliest or max(request_ids)[:_UP_TO_MS] > last[:_UP_TO_MS]:
        fitting: list[TaskRecord] = []
        others: list[TaskRecord] = []
        for record, id_, request_id in zip(group, ids, request_ids, strict=True):
            fits = earliest <= min(id_, request_id) and request_id[:_UP_TO_MS] <= id_[:_UP_TO_MS]
            (fitting if fits and _uuids([request_id]) is not None else others).append(record)
        if len(fitting) < FEWEST:
            return Encoded(b"", [], group)
        return encode(fitting)._replace(others=others)
    row = (
        *(_COLUMN_COUNT, uuid(last), uuid(first), text(worker.function), text(worker.language), name),
        *(uuid(worker.execution_id), uuid(worker.node), _COUNT(4, count)),
        _array(_UUID, 16, count, unhexlify("".join(ids).encode().translate(None, b"-"))),
        _array(_UUID, 16, count, requests),
        _array(_TIMESTAMPTZ, 8, count, _times([record.settled for record in group])),
        _array(_FLOAT8, 8, count, _numbers("d", [record.ms for record in group])),
    )
    return Encoded(b"".join(row), group, [])


def _uuids(texts: Sequence[str]) -> bytes | None:
    """The bytes of all of them together; None if any is not a UUID as the ledger spells it."""
    joined = "".join(texts)
    dashes = "-" * len(texts)
    try:
        digits = joined.encode().translate(None, b"-")
        data = unhexlify(digits)
    except ValueError:
        return None
    if len(data) != 16 * len(texts) or data.hex().encode() != digits or set(map(len, texts)) != {_ID}:
        return None
    return data if all(joined[at::_ID] == dashes for at in _DASHES) else None


def _times(moments: Sequence[datetime | None]) -> bytes:
    # Successive records mostly have the same times, and then the same datetime objects.
    last: datetime | None = None
    last_us = 0
    found = []
    for moment in moments:
        if moment is not last and moment is not None:
            last, last_us = moment, microseconds(moment)
        found.append(last_us)
    return _numbers("q", found)


def _numbers(kind: str, values: Sequence[Any]) -> bytes:
    """Big-endian; ``kind``: a type code of `array`."""
    numbers = array(kind, values)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()


def _array(kind: int, size: int, count: int, elements: bytes) -> bytes:
    """An array of ``count`` elements of ``size`` bytes each, of the type with the id ``kind``."""
    # Each element has its size before it. A slice for each of its bytes is faster than anything for each element.
    step = 4 + size
    body = bytearray((size.to_bytes(4, "big") + bytes(size)) * count)
    for at in range(size):
        body[4 + at :: step] = elements[at::size]
    return _ARRAY(20 + len(body), 1, 0, kind, count, 1) + body
