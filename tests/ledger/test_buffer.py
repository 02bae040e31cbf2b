import pytest
from tests.ledger import samples

from outlast.core.records import TaskRecord
from outlast.ledger import buffer
from outlast.ledger.buffer import Buffer


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
    assert five.take() == [record]
    assert len(five) == 0


def test_it_wakes_for_the_first_and_for_a_full_batch(five: Buffer[TaskRecord], woken: Woken) -> None:
    woke = []
    for _ in range(4):
        five.add(samples.task())
        woke.append(woken.times)
    assert woke == [1, 1, 2, 2]


def test_the_oldest_go_first_and_those_that_have_ended_are_counted(five: Buffer[TaskRecord]) -> None:
    records = [samples.task() for _ in range(8)]
    for record in records:
        # One that is still open comes again.
        five.add(record if record is records[1] else samples.settled(record))
    assert five.dropped == 2
    assert [*five.take(), *five.take()] == records[3:]


def test_what_is_given_back_is_taken_first_and_is_what_there_is_no_room_for(five: Buffer[TaskRecord]) -> None:
    records = [samples.settled(samples.task()) for _ in range(7)]
    for record in records[:3]:
        five.add(record)
    batch = five.take()
    for record in records[3:]:
        five.add(record)
    five.give_back(batch)
    assert five.dropped == 2
    assert [*five.take(), *five.take()] == records[2:]


def test_one_that_has_settled_meanwhile_is_given_back_once(five: Buffer[TaskRecord]) -> None:
    record, other = samples.task(), samples.task()
    five.add(record)
    batch = five.take()
    five.add(other)
    five.add(samples.settled(record))
    five.give_back(batch)
    assert five.take() == [record, other]
