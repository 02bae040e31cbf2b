from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import ids, records
from outlast.core.language import Language
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import TaskQuery, TaskRecord

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def task(**fields: object) -> TaskRecord:
    return TaskRecord(
        **{
            "id": ids.uuid7(int(MOMENT.timestamp() * 1000), 7),
            "function": "hello",
            "language": Language.PYTHON,
            "execution_id": "e",
            "node": "n",
            "started": MOMENT,
            **fields,
        }  # type: ignore[arg-type]
    )


def test_a_task_is_open_until_it_has_an_outcome() -> None:
    record = task()
    assert record.is_open
    record.settle(TaskOutcome.REJECTED, MOMENT, 12.5, error="Error: no")
    assert not record.is_open
    assert (record.outcome, record.ms, record.error, record.reason) == (TaskOutcome.REJECTED, 12.5, "Error: no", None)


def test_what_a_worker_says_is_cut_and_made_fit_for_a_database() -> None:
    record = task()
    record.settle(TaskOutcome.INTERRUPTED, MOMENT, 1, reason=EndReason.CRASH, error="a\0b" * records.MAX_ERROR_CHARS)
    assert record.error is not None
    assert len(record.error) == records.MAX_ERROR_CHARS
    assert "\0" not in record.error
    assert records.printable("", 10) is None
    assert records.printable("0123456789", 10) == "0123456789"
    assert records.printable("a\0b", 10) == "a\ufffdb"


@given(MOMENTS, st.integers(0, 2**ids.RANDOM_BITS - 1))
def test_since_and_until_are_bounds_of_ids(moment: datetime, bits: int) -> None:
    made = ids.uuid7(int(moment.timestamp() * 1000), bits)
    record = task(id=made)
    assert TaskQuery(since=moment).predicate()(record)
    assert not TaskQuery(until=moment).predicate()(record)
    later = moment + timedelta(milliseconds=1.5)
    assert TaskQuery(until=later).predicate()(record)
    assert not TaskQuery(since=later).predicate()(record)
    assert abs(ids.moment_of(made) - moment) < timedelta(milliseconds=2)


@pytest.mark.parametrize(
    ("query", "accepts"),
    [
        (TaskQuery(), True),
        (TaskQuery(function="hello", name="mail", request_id="r"), True),
        (TaskQuery(function="other"), False),
        (TaskQuery(name="other"), False),
        (TaskQuery(request_id="other"), False),
        (TaskQuery(is_open=True), True),
        (TaskQuery(is_open=False), False),
        (TaskQuery(outcome=TaskOutcome.FULFILLED), False),
    ],
)
def test_a_query_wants_all_that_it_names(query: TaskQuery, accepts: bool) -> None:
    assert query.predicate()(task(name="mail", request_id="r")) is accepts
