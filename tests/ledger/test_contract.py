"""What every ledger does, whatever it is kept in."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from tests.ledger import samples

from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import RequestQuery, TaskPage, TaskQuery, TaskRecord, WorkerQuery
from outlast.ledger.ledger import MAX_LIMIT, Ledger


async def everything(ledger: Ledger, query: TaskQuery, limit: int) -> list[TaskRecord]:
    found: list[TaskRecord] = []
    page = await ledger.tasks(query, limit=limit)
    while True:
        assert len(page.items) <= limit
        found += page.items
        if page.cursor is None:
            return found
        page = await ledger.tasks(query, page.cursor, limit)


def ids_of(page: TaskPage | Sequence[TaskRecord]) -> list[str]:
    return [record.id for record in (page.items if isinstance(page, TaskPage) else page)]


class TestTasks:
    async def test_one_that_was_started_is_open(self, ledger: Ledger) -> None:
        record = samples.task(name="mail", request_id=samples.new_id())
        ledger.task_started(record)
        assert await ledger.task(record.id) == record
        assert ids_of(await ledger.tasks(TaskQuery(is_open=True))) == [record.id]
        assert ids_of(await ledger.tasks(TaskQuery(is_open=False))) == []

    async def test_one_that_has_settled_is_the_same_record(self, ledger: Ledger) -> None:
        record = samples.task()
        ledger.task_started(record)
        assert (await ledger.tasks(TaskQuery())).items[0].is_open
        samples.settled(record, TaskOutcome.INTERRUPTED, reason=EndReason.CRASH, error="it broke")
        record.cpu_ms = 3.5
        ledger.tasks_settled([record])
        [found] = (await ledger.tasks(TaskQuery())).items
        assert found == record
        assert (found.outcome, found.reason, found.error, found.cpu_ms) == (
            *(TaskOutcome.INTERRUPTED, EndReason.CRASH, "it broke", 3.5),
        )

    async def test_one_that_settles_at_once_is_one_record(self, ledger: Ledger) -> None:
        record = samples.task()
        ledger.task_started(record)
        ledger.tasks_settled([samples.settled(record)])
        assert (await ledger.tasks(TaskQuery())).items == [record]

    async def test_one_of_which_there_is_everything_to_tell_when_it_is_told_of(self, ledger: Ledger) -> None:
        record = samples.task(name="mail 🎉", request_id=samples.new_id())
        samples.settled(record, TaskOutcome.INTERRUPTED, reason=EndReason.CRASH, error='it\n\t"broke" \\N')
        record.cpu_ms = 3.5
        ledger.task_started(record)
        ledger.tasks_settled([record])
        assert await ledger.task(record.id) == record

    async def test_one_that_nobody_knows(self, ledger: Ledger) -> None:
        assert await ledger.task(samples.new_id()) is None
        assert await ledger.task("nonsense") is None

    async def test_what_a_function_calls_it_is_kept_as_it_is(self, ledger: Ledger) -> None:
        name = "'; drop table tasks; -- \\ \" \t\n\x01 ä 🎉"
        record = samples.task(name=name, request_id="not a uuid")
        ledger.task_started(record)
        assert ids_of(await ledger.tasks(TaskQuery(name=name))) == [record.id]
        assert await ledger.task(record.id) == record


class TestQueries:
    @pytest.fixture
    def records(self, ledger: Ledger) -> list[TaskRecord]:
        """One a second; every other of hello; every third rejected; the last two open."""
        records = [
            samples.task(
                ("hello", "bye")[number % 2],
                samples.BEGIN + timedelta(seconds=number),
                name=("mail", None, "log", "mail")[number % 4],
                request_id=f"r{number // 3}",
            )
            for number in range(20)
        ]
        for number, record in enumerate(records):
            ledger.task_started(record)
            if number < 18:
                outcome = TaskOutcome.FULFILLED if number % 3 else TaskOutcome.REJECTED
                ledger.tasks_settled([samples.settled(record, outcome)])
        return records

    async def test_the_newest_come_first(self, ledger: Ledger, records: list[TaskRecord]) -> None:
        assert ids_of(await ledger.tasks(TaskQuery())) == [record.id for record in reversed(records)]

    @pytest.mark.parametrize(
        "query",
        [
            TaskQuery(),
            TaskQuery(function="hello"),
            TaskQuery(outcome=TaskOutcome.REJECTED),
            TaskQuery(outcome=TaskOutcome.TIMED_OUT),
            TaskQuery(outcome=TaskOutcome.FULFILLED),
            TaskQuery(name="mail"),
            TaskQuery(request_id="r2"),
            TaskQuery(is_open=True),
            TaskQuery(is_open=False, function="hello"),
            TaskQuery(reason=EndReason.CPU),
            TaskQuery(since=samples.BEGIN + timedelta(seconds=5)),
            TaskQuery(until=samples.BEGIN + timedelta(seconds=5)),
            TaskQuery(since=samples.BEGIN + timedelta(seconds=3), until=samples.BEGIN + timedelta(seconds=9)),
            TaskQuery(function="hello", outcome=TaskOutcome.REJECTED, name="log", since=samples.BEGIN),
        ],
        ids=lambda query: "+".join([*query.fields, *(field for field in ("since", "until") if getattr(query, field))]),
    )
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_pages_together_are_what_was_asked_for(
        self, ledger: Ledger, records: list[TaskRecord], query: TaskQuery, limit: int
    ) -> None:
        expected = [record for record in reversed(records) if query.predicate()(record)]
        assert await everything(ledger, query, limit) == expected

    @pytest.mark.parametrize("change", [str, str.upper, lambda id_: f"{id_[:12]} and so on", lambda id_: id_[:7]])
    async def test_a_request_has_all_of_its_tasks_whenever_they_were_started(
        self, ledger: Ledger, change: Callable[[str], str]
    ) -> None:
        request_id = change(samples.new_id(samples.BEGIN))
        records = [
            samples.task(at=samples.BEGIN + timedelta(milliseconds=ms), request_id=request_id)
            # A clock may go back.
            for ms in (-86_400_000, -4_096, -1, 0, 1, 300, 4_095, 4_096, 60_000, 86_400_000)
        ]
        for record in records:
            ledger.task_started(record)
            ledger.task_started(samples.task(at=record.started, request_id=samples.new_id(record.started)))
            ledger.task_started(samples.task(at=record.started))
        query = TaskQuery(request_id=request_id)
        assert await everything(ledger, query, 3) == records[::-1]
        assert sum(count.count for count in await ledger.counts(query)) == len(records)

    async def test_a_page_that_is_full_and_the_last_has_no_cursor(
        self, ledger: Ledger, records: list[TaskRecord]
    ) -> None:
        assert (await ledger.tasks(TaskQuery(), limit=len(records))).cursor is None

    async def test_what_comes_meanwhile_does_not_shift_the_pages(
        self, ledger: Ledger, records: list[TaskRecord]
    ) -> None:
        first = await ledger.tasks(TaskQuery(), limit=5)
        ledger.task_started(samples.task())
        second = await ledger.tasks(TaskQuery(), first.cursor, 5)
        assert ids_of(second) == [record.id for record in records[14:9:-1]]

    async def test_a_cursor_that_is_none(self, ledger: Ledger) -> None:
        with pytest.raises(ValueError, match="cursor"):
            await ledger.tasks(TaskQuery(), "'; drop table")

    @pytest.mark.parametrize("limit", [-1, 0, MAX_LIMIT + 1, 10**12])
    async def test_a_limit_out_of_all_bounds(self, ledger: Ledger, records: list[TaskRecord], limit: int) -> None:
        found = (await ledger.tasks(TaskQuery(), limit=limit)).items
        assert len(found) == (len(records) if limit > 0 else 1)

    async def test_counts(self, ledger: Ledger, records: list[TaskRecord]) -> None:
        counts = await ledger.counts(TaskQuery(function="hello"))
        found = {(count.function, count.outcome): count.count for count in counts}
        assert found == {("hello", TaskOutcome.REJECTED): 3, ("hello", TaskOutcome.FULFILLED): 6, ("hello", None): 1}


class TestWorkers:
    async def test_a_life(self, ledger: Ledger) -> None:
        record = samples.worker()
        ledger.worker_started(record)
        assert (await ledger.workers(WorkerQuery(is_open=True))).items == [record]
        record.ready = record.started
        ledger.worker_changed(record)
        assert (await ledger.workers(WorkerQuery())).items == [record]
        record.ended, record.reason, record.error, record.ms, record.cpu_ms, record.memory_mb = (
            *(record.started, EndReason.BOOT_FAILURE, "SyntaxError", 12.0, 34.5, 56.0),
        )
        record.requests, record.tasks = 3, 4
        ledger.worker_changed(record)
        assert (await ledger.workers(WorkerQuery(is_open=False, function="hello"))).items == [record]
        assert (await ledger.workers(WorkerQuery(is_open=True))).items == []


class TestRequests:
    async def test_they_can_be_found(self, ledger: Ledger) -> None:
        good, bad = samples.request(), samples.request(None, status=404, error="Function not found", execution_id=None)
        for record in (bad, good):
            ledger.request_ended(record)
        assert (await ledger.requests(RequestQuery())).items == sorted([good, bad], key=lambda r: r.id, reverse=True)
        assert (await ledger.requests(RequestQuery(status=404))).items == [bad]
        assert (await ledger.requests(RequestQuery(function="hello"))).items == [good]
        assert await ledger.request(good.id) == good
        assert await ledger.request("nonsense") is None
