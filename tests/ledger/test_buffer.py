import pytest
from tests.ledger import samples

from outlast.core.records import TaskRecord
from outlast.ledger import buffer
from outlast.ledger.buffer import Batch, Buffer


@pytest.fixture(autouse=True)
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "BATCH", 3)


class Woken:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def five(woken: Woken) -> Buffer[TaskRecord]:
    return Buffer(5, woken)


def test_a_record_waits_once_however_often_it_was_told_of(five: Buffer[TaskRecord]) -> None:
    record = samples.task()
    five.add(record)
    five.add(samples.settled(record))
    assert five.take() == Batch([record], [])
    assert len(five) == 0


def test_it_wakes_for_the_first_and_for_a_full_batch(five: Buffer[TaskRecord], woken: Woken) -> None:
    woke = []
    for _ in range(4):
        five.add(samples.settled(samples.task()))
        woke.append(woken.times)
    assert woke == [1, 1, 2, 2]


def test_it_wakes_for_the_first_that_is_open(five: Buffer[TaskRecord], woken: Woken) -> None:
    five.add(samples.task())
    five.add(samples.task())
    assert woken.times == 1


def test_the_oldest_go_first_and_those_that_have_ended_are_counted(five: Buffer[TaskRecord]) -> None:
    records = [samples.task() for _ in range(8)]
    for record in records:
        # One that is still open stays: what becomes of it is yet to be told.
        five.add(record if record is records[1] else samples.settled(record))
    assert five.dropped == 2
    assert five.take().new + five.take().new == [*records[3:], records[1]]


def test_what_is_given_back_is_taken_first_and_is_what_there_is_no_room_for(five: Buffer[TaskRecord]) -> None:
    records = [samples.settled(samples.task()) for _ in range(7)]
    for record in records[:3]:
        five.add(record)
    batch = five.take()
    for record in records[3:]:
        five.add(record)
    five.give_back(batch)
    assert five.dropped == 2
    # The third may have been written.
    assert five.take() == Batch(records[3:5], [records[2]])
    assert five.take() == Batch(records[5:], [])


def test_what_is_open_stays_once_and_is_written_again_when_it_has_settled(five: Buffer[TaskRecord]) -> None:
    short, long, other = (samples.task() for _ in range(3))
    for record in (short, long, samples.settled(other)):
        five.add(record)
    assert five.take() == Batch([other], [])
    assert len(five) == 2
    five.add(samples.settled(short))
    assert five.take() == Batch([short, long], [])
    assert len(five) == 0
    five.add(samples.settled(long))
    assert five.take() == Batch([], [long])
    five.add(long)
    assert five.take().new == [long], "nothing is remembered of what has settled and been written"


def test_asked_for_it_takes_what_is_open_at_once(five: Buffer[TaskRecord]) -> None:
    record = samples.task()
    five.add(record)
    assert five.take(at_once=True) == Batch([record], [])


def test_what_has_settled_comes_before_more_than_a_batch_that_is_open(five: Buffer[TaskRecord]) -> None:
    *others, last = (samples.task() for _ in range(5))
    for record in (*others, samples.settled(last)):
        five.add(record)
    assert five.take() == Batch([last], [])
    assert five.take() == Batch(others[:3], [])
    assert five.take() == Batch(others[3:], [])


def test_a_change_of_what_is_open_and_has_been_written_is_written_again(five: Buffer[TaskRecord]) -> None:
    record = samples.task()
    five.add(record)
    assert five.take(at_once=True) == Batch([record], [])
    five.add(record)
    assert five.take(at_once=True) == Batch([], [record])


def test_one_that_has_settled_meanwhile_is_given_back_once(five: Buffer[TaskRecord]) -> None:
    record, other = samples.task(), samples.task()
    five.add(record)
    batch = five.take(at_once=True)
    five.add(other)
    five.add(samples.settled(record))
    five.give_back(batch)
    assert five.take(at_once=True) == Batch([other], [record])


def test_what_has_settled_does_not_stay_though_nobody_takes_anything(five: Buffer[TaskRecord]) -> None:
    long, *short = (samples.task() for _ in range(20))
    five.add(long)
    for record in short:
        five.add(record)
        five.add(samples.settled(record))
        assert five.at_most <= 5 + buffer.BATCH
    assert (len(five), five.dropped) == (6, 14)
    assert five.take().new + five.take().new + five.take().new == [*short[-5:], long]
