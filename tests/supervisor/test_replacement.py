"""A worker that has to go takes requests until another one can; when none can, it stays."""

import pytest
from tests.supervisor.stub_workers import House, Stub, house

from outlast.core import balance
from outlast.core.balance import Scale
from outlast.core.limits import Step
from outlast.core.outcome import RequestEnd, UnloadReason
from outlast.core.policy import Policy
from outlast.supervisor import ending, pool, rotation
from outlast.supervisor.worker import Worker

TWO = Scale(standby=0, max_workers=2, concurrency=1)


async def serves(there: House, worker: Stub) -> None:
    """The next request is its."""
    count = worker.requests
    caller = there.call()
    await worker.has(count + 1)
    worker.answer()
    assert await caller.end() == 200
    assert caller.execution_id == worker.execution_id


def lives(there: House) -> list[tuple[str, str]]:
    return [(entry["event"], entry["execution_id"]) for entry in there.entries if entry["event"] in ("boot", "retire")]


async def test_a_due_worker_serves_until_its_successor_is_ready() -> None:
    async with house() as there:
        old = await there.served_worker()
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        new = await there.worker()
        await serves(there, old)
        assert not there.events("retire")
        await new.booted()
        await old.told("beforeunload")
        assert there.events("retire")[0]["reason"] == "wall_clock"
        assert lives(there) == [
            ("boot", old.execution_id),
            ("boot", new.execution_id),
            ("retire", old.execution_id),
        ]
        await serves(there, new)
        assert old.requests == 2


async def test_what_it_has_goes_on_after_it_is_retired() -> None:
    async with house() as there:
        old, caller = await there.busy_worker()
        there.judge(old, Step.RETIRE, UnloadReason.CPU)
        new = await there.ready_worker()
        await there.logged("retire")
        await serves(there, new)
        assert old.heard.empty()
        old.answer()
        assert await caller.end() == 200
        await old.told("beforeunload")


async def test_being_due_again_and_again_starts_one_successor() -> None:
    async with house() as there:
        old = await there.served_worker()
        for _ in range(3):
            there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        new = await there.ready_worker()
        await old.told("beforeunload")
        await serves(there, new)
        assert there.spawned.empty()


async def test_a_due_worker_stays_if_its_successor_fails_to_boot() -> None:
    async with house() as there:
        old = await there.served_worker()
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        broken = await there.worker()
        await broken.boots()
        broken.say(type="boot_failed", error="Error: not now")
        await there.logged("shutdown")
        await serves(there, old)
        assert not there.events("retire")
        # It is tried again at the next look.
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        new = await there.ready_worker()
        await old.told("beforeunload")
        await serves(there, new)


@pytest.mark.parametrize("idle_timeout_ms", [0, 600_000])
async def test_a_worker_that_nobody_has_called_lately_is_retired_alone(
    monkeypatch: pytest.MonkeyPatch, idle_timeout_ms: int
) -> None:
    monkeypatch.setattr(pool, "IN_USE_S", -1.0)
    async with house(idle_timeout_ms=idle_timeout_ms) as there:
        old = await there.served_worker()
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await old.told("beforeunload")
        assert there.spawned.empty()
        await there.served_worker()


async def test_a_worker_that_has_been_idle_for_as_long_as_it_may_is_retired_alone() -> None:
    async with house(idle_timeout_ms=1) as there:
        old = await there.served_worker()
        await old.told("beforeunload")
        assert there.pool._crew.starting() == 0


async def test_a_worker_that_is_near_its_end_does_not_wait_for_another() -> None:
    async with house() as there:
        old, caller = await there.busy_worker()
        there.judge(old, Step.WARN, UnloadReason.CPU)
        await old.told("beforeunload")
        await there.served_worker()
        old.answer()
        assert await caller.end() == 200
        assert (old.requests, there.events("beforeunload")[0]["reason"]) == (1, "cpu")


async def test_those_that_wait_for_a_worker_that_must_go_have_another() -> None:
    async with house(scale=Scale(standby=0, max_workers=1, concurrency=1)) as there:
        old, first = await there.busy_worker()
        second = there.call()
        assert there.pool._crew.starting() == 0
        there.judge(old, Step.WARN, UnloadReason.CPU)
        new = await there.ready_worker()
        await new.answers(1)
        assert await second.end() == 200
        old.answer()
        assert await first.end() == 200


async def test_a_due_worker_does_not_count_as_one_of_those_that_there_may_be() -> None:
    async with house(scale=TWO) as there:
        callers = [there.call(), there.call()]
        workers = [await there.ready_worker() for _ in callers]
        for one in workers:
            await one.has(1)
        there.judge(workers[0], Step.RETIRE, UnloadReason.WALL_CLOCK)
        new = await there.ready_worker()
        await there.logged("retire")
        assert there.events("retire")[0]["execution_id"] == workers[0].execution_id
        waiting = there.call()
        await new.has(1)
        for one in (*workers, new):
            one.answer()
        assert [await caller.end() for caller in (*callers, waiting)] == [200, 200, 200]


async def test_a_request_that_a_due_worker_has_no_room_for_starts_the_successor_that_failed_before() -> None:
    async with house(scale=Scale(standby=0, max_workers=1, concurrency=1)) as there:
        old, first = await there.busy_worker()
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        (await there.worker()).exit(1)
        await there.logged("boot_failure")
        new, second = await there.busy_worker()
        for one in (old, new):
            one.answer()
        assert [await first.end(), await second.end()] == [200, 200]


async def test_each_new_worker_relieves_one_that_is_due() -> None:
    async with house(scale=TWO) as there:
        callers = [there.call(), there.call()]
        old = [await there.ready_worker() for _ in callers]
        for one in old:
            await one.has(1)
        for one in old:
            there.judge(one, Step.RETIRE, UnloadReason.WALL_CLOCK)
        new = [await there.worker(), await there.worker()]
        await new[0].booted()
        await there.logged("retire")
        assert [entry["execution_id"] for entry in there.events("retire")] == [old[0].execution_id]
        await new[1].booted()
        for one in old:
            one.answer()
        assert [await caller.end() for caller in callers] == [200, 200]
        for one in old:
            await one.told("beforeunload")
        assert there.spawned.empty()


async def test_a_reload_leaves_nothing_due() -> None:
    async with house() as there:
        old = await there.served_worker()
        there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
        successor = await there.worker()
        there.pool.reload(there.function)
        await successor.booted()
        await old.told("beforeunload")
        await successor.told("beforeunload")
        await there.served_worker()
        # The first of these ended for its wall clock, as a successor was ready, the other for the reload.
        assert [entry["reason"] for entry in there.events("retire")] == ["wall_clock", "reload"]


async def test_a_worker_that_is_not_needed_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(scale=TWO) as there:
        callers = [there.call(), there.call()]
        first, second = [await there.ready_worker() for _ in callers]
        for one in (first, second):
            await one.answers(1)
        assert [await caller.end() for caller in callers] == [200, 200]
        # It has not been idle for long.
        there.judge(second)
        monkeypatch.setattr(pool, "SURPLUS_IDLE_MS", 0)
        with monkeypatch.context() as busy:
            busy.setattr(Worker, "has_spare_time", False)
            there.judge(second)
        assert not there.events("retire")
        there.judge(first)
        there.judge(second)
        await second.told("beforeunload")
        assert first.heard.empty()
        assert there.events("retire")[0]["reason"] == "early_drop"
        await serves(there, first)


async def test_a_worker_that_fills_half_of_its_memory_ends_when_it_has_nothing_to_do() -> None:
    async with house() as there:
        old, caller = await there.busy_worker()
        there.judge(old, Step.ALERT, UnloadReason.MEMORY)
        await serves_beside(there, old)
        assert there.spawned.empty()
        old.answer()
        assert await caller.end() == 200
        new = await there.ready_worker()
        await old.told("beforeunload")
        assert there.events("retire")[0]["reason"] == "memory"
        await serves(there, new)


async def serves_beside(there: House, worker: Stub) -> None:
    """It takes one more request beside the one that it has."""
    there.call()
    await worker.has(worker.requests + 1)


class TestStuckWorkers:
    async def test_one_that_computes_counts_until_it_goes_on(self) -> None:
        async with house(scale=Scale(standby=0, max_workers=1)) as there:
            stuck, first = await there.busy_worker()
            there.hold_up(stuck, True)
            # It stands still without computing, as far as is known: it is gone round.
            await there.served_worker()
            there.hold_up(stuck, False)
            stuck.answer()
            assert await first.end() == 200

    async def test_one_that_is_due_is_retired_at_once(self) -> None:
        async with house() as there:
            stuck, first = await there.busy_worker()
            there.hold_up(stuck, True)
            there.judge(stuck, Step.RETIRE, UnloadReason.CPU)
            assert there.events("retire")[0]["reason"] == "cpu"
            there.hold_up(stuck, False)
            other, second = await there.busy_worker()
            for one in (stuck, other):
                one.answer()
            assert await first.end() == await second.end() == 200
            assert stuck.requests == 1

    async def test_one_that_was_due_before_leaves_its_place_to_its_successor(self) -> None:
        async with house(scale=Scale(standby=0, max_workers=1)) as there:
            old, first = await there.busy_worker()
            there.judge(old, Step.RETIRE, UnloadReason.CPU)
            new = await there.worker()
            there.hold_up(old, True)
            assert there.events("retire")[0]["reason"] == "cpu"
            await new.booted()
            there.hold_up(old, False)
            there.judge(old, Step.RETIRE, UnloadReason.CPU)
            second = there.call()
            await new.has(1)
            for one in (old, new):
                one.answer()
            assert await first.end() == await second.end() == 200
            await old.told("beforeunload")
            assert (old.requests, there.spawned.empty()) == (1, True)

    async def test_no_more_than_a_few_are_gone_round(self) -> None:
        async with house(scale=Scale(standby=0, max_workers=1)) as there:
            callers = []
            stuck = []
            for _ in range(rotation.MAX_GONE_ROUND + 1):
                callers.append(there.call())
                one = await there.ready_worker()
                await one.has(1)
                there.hold_up(one, True)
                stuck.append(one)
            waiting = there.call()
            assert there.pool._crew.starting() == 0
            there.hold_up(stuck[0], False)
            await stuck[0].has(2)
            for one in stuck:
                one.answer()
            assert {await caller.end() for caller in (*callers, waiting)} == {200}


class TestTheBrake:
    """On what fails again and again."""

    async def fail_to_boot(self, there: House) -> None:
        caller = there.call()
        broken = await there.worker()
        broken.exit(1)
        assert await caller.end() is RequestEnd.BOOT_ERROR
        assert caller.retry_after_s is None

    async def test_after_three_boots_that_failed_requests_are_refused_for_a_while(self) -> None:
        async with house() as there:
            for _ in range(3):
                await self.fail_to_boot(there)
            delay = await there.logged("boot_delay")
            assert (delay["function"], delay["level"], delay["ms"]) == ("stub", "warning", 200)
            refused = there.call()
            assert await refused.end() is RequestEnd.BOOT_ERROR
            assert refused.retry_after_s == 1
            assert there.spawned.empty()

    async def test_those_that_are_refused_are_told_when_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(balance, "boot_delay_s", lambda failures: 599.5)
        async with house() as there:
            await self.fail_to_boot(there)
            refused = there.call()
            assert await refused.end() is RequestEnd.BOOT_ERROR
            assert refused.retry_after_s == 600

    async def test_a_change_of_the_files_ends_it(self) -> None:
        async with house() as there:
            for _ in range(3):
                await self.fail_to_boot(there)
            there.pool.reload(there.function)
            await there.served_worker()

    async def test_is_not_for_what_the_files_said_before(self) -> None:
        async with house() as there:
            caller = there.call()
            old = await there.worker()
            there.pool.reload(there.function, at_once=True)
            new = await there.worker()
            old.exit(1)
            await there.logged("boot_failure")
            new.exit(1)
            assert await caller.end() is RequestEnd.BOOT_ERROR
            await self.fail_to_boot(there)
            assert not there.events("boot_delay")

    async def test_leaves_those_waiting_that_a_ready_worker_may_take(self) -> None:
        async with house(scale=TWO) as there:
            worker, first = await there.busy_worker()
            for count in range(1, 4):
                there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
                (await there.worker()).exit(1)
                await there.logged("boot_failure", count=count)
            await there.logged("boot_delay")
            second = there.call()
            assert not second.ended.done()
            worker.answer()
            await worker.answers(2)
            assert await first.end() == await second.end() == 200

    async def test_a_worker_that_lasts_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ending, "YOUNG_MS", 0)
        async with house() as there:
            for _ in range(2):
                await self.fail_to_boot(there)
            lasting = await there.served_worker()
            lasting.exit(-11)
            await there.logged("shutdown", count=3)
            for _ in range(2):
                await self.fail_to_boot(there)
            assert not there.events("boot_delay")

    async def test_behind_those_that_crash_once_they_serve_requests_wait(self) -> None:
        async with house() as there:
            for _ in range(3):
                crashing, caller = await there.busy_worker()
                crashing.exit(-11)
                assert await caller.end() is RequestEnd.WORKER_ERROR
            await there.logged("boot_delay")
            waiting = there.call()
            assert not waiting.ended.done()
            assert there.pool._crew.starting() == 0
            # Once the delay is over.
            new = await there.ready_worker()
            await new.answers(1)
            assert await waiting.end() == 200

    async def test_holds_back_successors_too(self) -> None:
        async with house() as there:
            old = await there.served_worker()
            for _ in range(3):
                there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
                (await there.worker()).exit(1)
                await there.logged("shutdown", count=len(there.events("shutdown")) + 1)
            await there.logged("boot_delay")
            there.judge(old, Step.RETIRE, UnloadReason.WALL_CLOCK)
            assert there.pool._crew.starting() == 0
            await serves(there, old)

    async def test_one_failure_of_many_starts_at_once_is_one_failure(self) -> None:
        async with house(Policy.ONESHOT) as there:
            callers = [there.call() for _ in range(4)]
            workers = [await there.worker() for _ in callers]
            for one in workers[:3]:
                one.exit(1)
            ends = [await caller.end() for caller in callers[:3]]
            assert ends == [RequestEnd.BOOT_ERROR] * 3
            await there.logged("boot_delay")
            # What is on its way comes up all the same.
            await workers[3].booted()
            await workers[3].has(1)
            workers[3].answer()
            assert await callers[3].end() == 200
