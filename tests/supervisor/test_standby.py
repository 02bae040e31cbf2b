"""The worker of a function in use that is started before it is needed, with nothing of the function loaded."""

import math

import pytest
from tests.supervisor.stub_workers import House, Stub, house

from outlast.core import balance
from outlast.core.balance import Scale
from outlast.core.limits import Step
from outlast.core.outcome import EndReason, UnloadReason
from outlast.core.policy import Policy
from outlast.core.records import WorkerQuery
from outlast.supervisor import crew, pool
from outlast.supervisor.pool import Pool

ONE = Scale(standby=1)


async def with_standby(there: House) -> tuple[Stub, Stub]:
    """A worker that has served one request, and the standby that was started after it."""
    worker = await there.served_worker()
    standby = await there.worker()
    await standby.stand_by()
    return worker, standby


async def test_it_is_started_after_the_first_worker_is_ready_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "ONESHOT_STANDBY_AFTER_S", 600.0)
    async with house(scale=ONE) as there:
        there.call()
        worker = await there.worker()
        await worker.boots()
        assert there.spawned.empty()
        await worker.serve()
        standby = await there.worker()
        await standby.stand_by()
        await worker.answers(1)
        assert standby.heard.empty()
        assert [entry["execution_id"] for entry in there.events("boot")] == [worker.execution_id]


async def test_there_are_as_many_as_the_settings_say() -> None:
    async with house(scale=Scale(standby=3)) as there:
        there.call()
        await there.ready_worker()
        for _ in range(3):
            await (await there.worker()).stand_by()
        # As when the next worker has come up.
        there.pool._crew._keep_standby()
        assert len(there.pool.snapshot().workers) == 1 + 3


@pytest.mark.parametrize("why", ["the brake is on", "the files have changed", "it is not served any more"])
async def test_there_is_none_for_a_function_of_which_no_worker_may_be_started(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(crew, "STANDBY_AFTER_S", 600.0)
    monkeypatch.setattr(balance, "boot_delay_s", lambda failures: 600.0)
    async with house(scale=ONE) as there:
        worker, _ = await there.busy_worker()
        there.engine.gate.clear()
        match why:
            case "the brake is on":
                worker.exit(-11)
                await there.logged("boot_delay")
                await there.buried(worker)
            case "the files have changed":
                there.pool.reload(there.function)
            case _:
                there.pool.close(EndReason.RELOAD)
        count = len(there.pool.snapshot().workers)
        there.pool._crew._keep_standby()
        assert len(there.pool.snapshot().workers) == count


async def test_the_next_start_is_its_activation_and_another_takes_its_place() -> None:
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await standby.told("boot")
        assert there.spawned.empty()
        await standby.serve()
        await worker.told("beforeunload")
        caller = there.call()
        await standby.answers(1)
        assert await caller.end() == 200
        await (await there.worker()).stand_by()


async def test_the_connection_for_its_first_request_is_there_before_that() -> None:
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        await standby.listen()
        # Again, as if to have more of them.
        for _ in range(2):
            standby.say(type="pong", number=0)
        await standby.is_connected()
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await standby.told("boot")
        standby.say(type="ready")
        await worker.told("beforeunload")
        caller = there.call()
        await standby.answers(1)
        assert await caller.end() == 200
        assert standby.connections == 1


async def test_one_that_serves_elsewhere_than_expected_gets_its_requests_there() -> None:
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        await standby.listen()
        standby.say(type="pong", number=0)
        await standby.is_connected()
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await standby.told("boot")
        standby.stop_serving()
        await standby.listen("node.sock")
        standby.say(type="ready", socket="node.sock")
        await worker.told("beforeunload")
        caller = there.call()
        await standby.answers(1)
        assert await caller.end() == 200
        assert standby.connections == 2


async def test_one_that_is_needed_before_it_is_up_boots_as_soon_as_it_is() -> None:
    async with house(scale=ONE) as there:
        there.call()
        worker = await there.ready_worker()
        standby = await there.worker()
        worker.exit(-11)
        await there.logged("shutdown")
        caller = there.call()
        assert there.spawned.empty()
        await standby.booted()
        await standby.answers(1)
        assert await caller.end() == 200


@pytest.mark.parametrize("connected", [True, False])
async def test_a_reload_ends_it(connected: bool) -> None:
    async with house(scale=ONE) as there:
        worker, caller = await there.busy_worker()
        standby = await there.worker()
        if connected:
            await standby.stand_by()
        there.pool.reload(there.function)
        await standby.exited()
        worker.answer()
        assert await caller.end() == 200
        await there.served_worker()
        # Nobody had to know of it.
        assert standby.execution_id not in {entry.get("execution_id") for entry in there.entries}


async def test_after_a_reload_it_is_not_for_those_that_wait() -> None:
    async with house(scale=Scale(standby=1, max_workers=1, concurrency=1)) as there:
        worker, standby = await with_standby(there)
        callers = [there.call(), there.call()]
        await worker.has(2)
        there.pool.reload(there.function)
        await standby.exited()
        new = await there.ready_worker()
        await new.has(1)
        for one in (worker, new):
            one.answer()
        assert [await caller.end() for caller in callers] == [200, 200]


@pytest.mark.parametrize("connected", [True, False])
async def test_a_shutdown_ends_it(connected: bool) -> None:
    async with house(scale=ONE) as there:
        worker, _ = await there.busy_worker()
        standby = await there.worker()
        if connected:
            await standby.stand_by()
        there.pool.close(EndReason.TERMINATION)
        await standby.exited()
        worker.answer()
        await worker.obeys()
        await there.ended()
        assert standby.execution_id not in {entry.get("execution_id") for entry in there.entries}


async def test_it_is_no_place_for_requests_and_counts_for_nothing() -> None:
    async with house(scale=Scale(standby=1, max_workers=1, concurrency=1)) as there:
        worker, standby = await with_standby(there)
        first, second = there.call(), there.call()
        await worker.has(2)
        assert standby.heard.empty()
        worker.answer()
        await worker.answers(3)
        assert [await first.end(), await second.end()] == [200, 200]
        assert standby.heard.empty()


async def test_one_that_dies_is_no_failure_of_the_function() -> None:
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        standby.exit(1)
        caller = there.call()
        await worker.answers(2)
        assert await caller.end() == 200
        assert not there.events("boot_delay")


async def test_one_that_dies_fails_no_request_that_waits() -> None:
    async with house(Policy.ONESHOT, Scale(standby=1, max_workers=1)) as there:
        worker, first = await there.busy_worker()
        standby = await there.worker()
        second = there.call()
        standby.exit(1)
        await there.logged("boot_failure")
        await there.buried(standby)
        worker.answer()
        assert await first.end() == 200
        await worker.obeys()
        await (await there.ready_worker()).answers(1)
        assert await second.end() == 200


@pytest.mark.parametrize("how", ["cannot start", "ends"])
async def test_one_that_comes_to_nothing_as_its_function_was_removed_is_no_news(how: str) -> None:
    async with house(scale=ONE) as there:
        there.call()
        worker = await there.ready_worker()
        there.function.entrypoint.unlink()
        if how == "cannot start":
            there.spawn_error = OSError("No such file or directory")
        standby = await there.worker()
        if how == "ends":
            standby.exit(1)
        await worker.has(1)
        await there.buried(standby)
        worker.answer()
        there.pool.close(EndReason.RELOAD)
        await worker.obeys()
        await there.ended()
        assert not there.events("boot_failure")


async def test_draining_ends_it_and_leaves_those_alone_that_boot_for_somebody() -> None:
    async with house(scale=Scale(standby=2, max_workers=2, concurrency=1)) as there:
        worker, _ = await there.busy_worker()
        booting, standby = await there.worker(), await there.worker()
        await booting.stand_by()
        await standby.stand_by()
        caller = there.call()
        await booting.told("boot")
        assert there.pool.drain(worker.execution_id) == {worker.execution_id: True}
        assert [entry["execution_id"] for entry in there.events("retire")] == [worker.execution_id]
        assert there.pool.drain() == {
            worker.execution_id: True,
            booting.execution_id: False,
            standby.execution_id: True,
        }
        await standby.exited()
        await booting.serve()
        await booting.answers(1)
        assert await caller.end() == 200


async def test_it_outlives_its_boot_timeout() -> None:
    """Which counts from when it is needed."""
    async with house(scale=Scale(standby=2), boot_timeout_ms=200) as there:
        worker, hanging = await with_standby(there)
        standby = await there.worker()
        await standby.stand_by()
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await hanging.told("boot")
        await there.logged("boot_failure")
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await standby.told("boot")
        await standby.serve()
        await worker.told("beforeunload")


async def test_one_that_hangs_when_it_is_needed_is_ended() -> None:
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        there.hurry(standby, 50)
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await standby.told("boot")
        failure = await there.logged("boot_failure")
        assert (failure["execution_id"], "boot_timeout_ms" in failure["msg"]) == (standby.execution_id, True)
        assert not there.events("retire")


async def test_a_function_that_is_not_called_any_more_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "STANDBY_KEPT_S", 0.05)
    monkeypatch.setattr(pool, "IN_USE_S", -1.0)
    async with house(scale=ONE) as there:
        # And so it does when it has been called again.
        for _ in range(2):
            worker, standby = await with_standby(there)
            there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
            await worker.obeys()
            await standby.exited()


async def test_it_is_kept_until_nobody_has_called_the_function_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    unused_s = iter([0.0, 0.04, 0.05])
    monkeypatch.setattr(crew, "STANDBY_KEPT_S", 0.05)
    monkeypatch.setattr(pool, "IN_USE_S", -1.0)
    monkeypatch.setattr(Pool, "unused_s", lambda pool: next(unused_s, 0.05))
    async with house(scale=ONE) as there:
        worker, standby = await with_standby(there)
        there.judge(worker, Step.RETIRE, UnloadReason.WALL_CLOCK)
        await worker.obeys()
        await standby.exited()
        assert next(unused_s, None) is None
        await there.buried(standby)
        [record] = [
            each for each in (await there.ledger.workers(WorkerQuery())).items if each.id == standby.execution_id
        ]
        assert record.reason is EndReason.EARLY_DROP


async def test_a_function_is_in_use_while_it_has_a_worker_or_somebody_waits_for_one() -> None:
    async with house(Policy.ONESHOT, Scale(standby=0, max_workers=1)) as there:
        assert there.pool.unused_s() == math.inf
        gone = there.call()
        worker = await there.worker()
        gone.exchange.cancel()
        assert there.pool.unused_s() == 0
        await worker.booted()
        await there.logged("boot")
        assert there.pool.unused_s() == 0
        there.call()
        waiting = there.call()
        await worker.has(1)
        assert there.pool.unused_s() == 0
        waiting.exchange.cancel()
        assert there.pool.unused_s() > 0


async def test_oneshot_has_the_next_worker_started_while_a_request_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "STANDBY_AFTER_S", 600.0)
    async with house(Policy.ONESHOT, scale=ONE) as there:
        worker, first = await there.busy_worker()
        standby = await there.worker()
        await standby.stand_by()
        second = there.call()
        await standby.told("boot")
        await standby.serve()
        await standby.has(1)
        for one in (worker, standby):
            one.answer()
        assert [await first.end(), await second.end()] == [200, 200]
