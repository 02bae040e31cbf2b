"""Which worker gets a request, and what becomes of requests that none can have."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.supervisor.stub_workers import PATIENCE_S, House, Stub, house

from outlast.core import balance
from outlast.core.balance import Scale
from outlast.core.errors import OutlastError
from outlast.core.limits import Limits, Step
from outlast.core.outcome import EndReason, RequestEnd, UnloadReason
from outlast.core.policy import Policy
from outlast.core.printing import LogLimits
from outlast.engines.processes import Command
from outlast.supervisor import backlog, change, pool
from outlast.supervisor.worker import Worker


async def test_all_that_wait_are_served_by_the_one_worker_that_was_started_for_them() -> None:
    async with house() as there:
        callers = [there.call() for _ in range(3)]
        worker = await there.ready_worker()
        await worker.answers(3)
        assert [await caller.end() for caller in callers] == [200, 200, 200]
        assert there.spawned.empty()
        assert there.engine.prepared == 1


async def test_a_function_that_cannot_be_prepared_fails_all_that_wait_and_is_tried_again() -> None:
    async with house() as there:
        there.engine.error = OutlastError("index.ts:1:1: no such thing")
        callers = [there.call() for _ in range(3)]
        assert {await caller.end() for caller in callers} == {RequestEnd.BOOT_ERROR}
        # They have not waited in vain for a worker.
        assert {caller.retry_after_s for caller in callers} == {None}
        assert there.engine.prepared == 1
        [failure] = there.events("boot_failure")
        assert failure["msg"] == "index.ts:1:1: no such thing"
        there.engine.error = None
        await there.served_worker()


async def test_a_defect_of_the_engine_does_not_vanish() -> None:
    async with house() as there:
        there.engine.error = ZeroDivisionError("in the engine")
        assert await there.call().end() is RequestEnd.BOOT_ERROR
        [failure] = there.events("boot_failure")
        assert "Traceback" in failure["msg"]
        assert "ZeroDivisionError: in the engine" in failure["msg"]


async def test_a_process_that_cannot_be_started_is_a_failed_boot() -> None:
    async with house() as there:
        there.spawn_error = OSError("too many open files")
        assert await there.call().end() is RequestEnd.BOOT_ERROR
        assert there.events("boot_failure")[0]["msg"] == "too many open files"


async def test_a_process_that_there_is_no_command_for_is_a_failed_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*_: object) -> Command:
        raise OutlastError("/a, b/tmp: holds a comma")

    async with house() as there:
        monkeypatch.setattr(there.engine, "command", command)
        assert await there.call().end() is RequestEnd.BOOT_ERROR
        assert there.events("boot_failure")[0]["msg"] == "/a, b/tmp: holds a comma"


async def test_a_worker_that_fails_to_boot_fails_all_that_wait_for_it() -> None:
    async with house() as there:
        callers = [there.call() for _ in range(3)]
        (await there.worker()).exit(1)
        assert {await caller.end() for caller in callers} == {RequestEnd.BOOT_ERROR}
        assert there.pool._crew.starting() == 0


async def test_those_are_running_that_have_run_the_function_s_code() -> None:
    async with house() as there:
        there.call()
        worker = await there.worker()
        await worker.boots()
        assert not there.pool.running
        await worker.serve()
        await worker.has(1)
        assert [*there.pool.running] == [there.worker_of(worker)]


async def test_a_worker_that_ends_before_it_serves_says_what_it_printed() -> None:
    async with house() as there:
        caller = there.call()
        worker = await there.worker()
        await worker.connect()
        worker.prints("error: out of luck\n")
        worker.exit(1)
        assert await caller.end() is RequestEnd.BOOT_ERROR
        assert there.events("boot_failure")[0]["msg"] == "error: out of luck"


async def test_the_backlog_is_bounded() -> None:
    async with house() as there:
        there.engine.gate.clear()
        callers = [there.call() for _ in range(1001)]
        refused = callers.pop()
        assert await refused.end() is RequestEnd.WORKER_BUSY
        assert refused.retry_after_s == 1
        assert refused.why.startswith(
            "1,000 requests were waiting already. To let more wait: [functions.stub.scale] max_b"
        )
        assert not any(caller.ended.done() for caller in callers)


async def test_nobody_waits_for_ever_for_a_worker_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_FETCHING_S", 0.05)
    async with house() as there:
        there.engine.gate.clear()
        first, second = there.call(), there.call()
        assert await first.end() is RequestEnd.BOOT_ERROR
        assert await second.end() is RequestEnd.BOOT_ERROR
        assert first.why == pool.STILL_FETCHING


async def test_nobody_waits_for_ever_for_a_worker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
    async with house() as there:
        await there.pool.prepare()
        caller = there.call()
        assert await caller.end() is RequestEnd.BOOT_ERROR
        assert caller.why == ""


@pytest.mark.parametrize("policy", [Policy.PER_REQUEST, Policy.ONESHOT])
async def test_nobody_waits_for_ever_for_workers_that_have_no_time(
    monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    monkeypatch.setattr(backlog, "LOOK_EVERY_S", 0.05)
    async with house(policy) as there:
        await there.busy_worker()
        monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
        late = there.call()
        assert await late.end() is RequestEnd.WORKER_BUSY
        assert late.retry_after_s == 1


async def test_a_caller_that_leaves_before_there_is_a_worker_is_forgotten() -> None:
    async with house() as there:
        gone, stays = there.call(), there.call()
        gone.exchange.cancel()
        worker = await there.ready_worker()
        await worker.answers(1)
        assert await stays.end() == 200
        assert worker.requests == 1
        assert not gone.ended.done()


async def test_one_request_at_a_time_and_the_next_when_a_worker_is_free() -> None:
    async with house(Policy.PER_REQUEST) as there:
        callers = [there.call() for _ in range(17)]
        workers = [await there.ready_worker() for _ in range(16)]
        for worker in workers:
            await worker.has(1)
        assert there.spawned.empty()
        workers[3].answer()
        await workers[3].has(2)
        for worker in workers:
            worker.answer()
        assert {await caller.end() for caller in callers} == {200}


async def test_one_worker_is_started_beside_one_that_has_no_time_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "has_spare_time", False)
    async with house() as there:
        worker, first = await there.busy_worker()
        callers = [first, there.call(), there.call()]
        assert there.pool._crew.starting() == 1
        await worker.answers(3)
        assert [await caller.end() for caller in callers] == [200] * 3


class TestAnEventLoopAtWork:
    """When a request comes, and no other worker has a free one."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
        """The CPU time at each look at a worker, in milliseconds."""
        clock: list[float] = []
        monkeypatch.setattr(Worker, "is_running", lambda worker: len(clock) == 2)
        monkeypatch.setattr(Worker, "cpu_ms", property(lambda worker: clock.pop(0)))
        monkeypatch.setattr(Worker, "has_spare_time", True)
        monkeypatch.setattr(Worker, "quick", 0)
        monkeypatch.setattr(pool, "SECOND_LOOK_AFTER_S", 0.0)
        yield clock
        assert not clock, "it was looked at again"

    async def test_that_computes_has_another_worker_started(self, clock: list[float]) -> None:
        async with house() as there:
            worker, _ = await there.busy_worker()
            clock += [1, 1_000_000]
            held = there.call()
            other = await there.ready_worker()
            await there.logged("boot", count=2)
            caller = there.call()
            await other.answers(1)
            assert await caller.end() == 200
            await worker.has(2)
            assert not held.ended.done()

    async def test_that_the_machine_has_no_time_for_starts_none(self, clock: list[float]) -> None:
        async with house() as there:
            worker, _ = await there.busy_worker()
            clock += [1, 1]
            caller = there.call()
            await worker.answers(2)
            assert await caller.end() == 200
            assert there.pool._crew.starting() == 0
            # The next request is another matter.
            clock += [1, 1_000_000]
            there.call()
            await there.worker()

    async def test_is_looked_at_for_one_request_of_those_that_come_together(
        self, monkeypatch: pytest.MonkeyPatch, clock: list[float]
    ) -> None:
        async with house() as there:
            await there.busy_worker()
            monkeypatch.setattr(Worker, "is_running", lambda worker: True)
            clock += [1, 1_000_000]
            for _ in range(2):
                there.call()
            assert clock == [1_000_000]
            await there.worker()

    @pytest.mark.parametrize("quick", [0, 1])
    async def test_is_not_looked_at_if_it_is_free_or_quick(
        self, monkeypatch: pytest.MonkeyPatch, clock: list[float], quick: int
    ) -> None:
        monkeypatch.setattr(Worker, "quick", quick)
        monkeypatch.setattr(Worker, "is_running", lambda worker: quick > 0)
        async with house() as there:
            worker, first = await there.busy_worker()
            clock += [1, 1_000_000]
            second = there.call()
            assert clock == [1, 1_000_000]
            clock.clear()
            await worker.answers(2)
            assert [await first.end(), await second.end()] == [200, 200]

    async def test_that_takes_no_more_requests_starts_none(self, clock: list[float]) -> None:
        async with house() as there:
            worker, _ = await there.busy_worker()
            clock += [1, 1_000_000]
            there.call()
            there.judge(worker, Step.WARN, UnloadReason.CPU)
            await worker.told("beforeunload")
            assert there.pool._crew.starting() == 0
            assert clock.pop() == 1_000_000

    async def test_that_answers_in_time_starts_none(self, clock: list[float]) -> None:
        async with house() as there:
            worker, _ = await there.busy_worker()
            second_look, due = there.pool._look_again, asyncio.get_running_loop().create_future()
            there.pool._look_again = lambda *asked: due.set_result(asked)  # type: ignore[method-assign]
            clock += [1, 1_000_000]
            caller = there.call()
            await worker.answers(2)
            assert await caller.end() == 200
            second_look(*await due)
            assert there.pool._crew.starting() == 0
            assert clock.pop() == 1_000_000


async def test_the_trace_of_one_that_waited_knows_whether_that_was_for_a_new_worker() -> None:
    class Trace:
        context = b""

        def __init__(self) -> None:
            self.waits: list[bool] = []

        def waited(self, *, is_first: bool) -> None:
            self.waits.append(is_first)

        def end(self, ending: object) -> None: ...

    traces = [Trace() for _ in range(3)]
    async with house(Policy.PER_REQUEST, Scale(standby=0, max_workers=1)) as there:
        callers = [there.call(trace) for trace in traces[:2]]
        worker = await there.ready_worker()
        await worker.answers(1)
        await worker.answers(2)
        assert [await caller.end() for caller in callers] == [200, 200]
        last = there.call(traces[2])
        await worker.answers(3)
        assert await last.end() == 200
    assert [trace.waits for trace in traces] == [[True], [False], []]


async def test_a_boot_that_fails_takes_one_request_along_where_each_has_its_own_worker() -> None:
    async with house(Policy.ONESHOT, Scale(standby=0, max_workers=2)) as there:
        callers = [there.call() for _ in range(3)]
        unlucky, lucky = await there.worker(), await there.worker()
        unlucky.exit(1)
        assert await callers[0].end() is RequestEnd.BOOT_ERROR
        # In its place.
        for one in (lucky, await there.worker()):
            await one.booted()
            await one.answers(1)
        assert [await caller.end() for caller in callers[1:]] == [200, 200]


async def test_a_boot_that_fails_fails_nobody_while_others_did_boot() -> None:
    async with house(Policy.PER_REQUEST) as there:
        worker, first = await there.busy_worker()
        second = there.call()
        (await there.worker()).exit(1)
        await there.logged("shutdown")
        worker.answer()
        assert await first.end() == 200
        await worker.answers(2)
        assert await second.end() == 200


async def test_a_request_that_met_a_dying_worker_goes_to_another_one() -> None:
    async with house() as there:
        caller = there.call()
        worker = await there.worker()
        await worker.boots()
        await worker.serve()
        worker.stop_serving()
        # It was sent nothing, for there is nobody to connect to.
        (worker.folder / "http.sock").unlink(missing_ok=True)
        other = await there.ready_worker()
        await other.answers(1)
        assert await caller.end() == 200
        assert worker.requests == 0
        assert caller.execution_id == other.execution_id


async def test_oneshot_counts_a_worker_until_it_has_exited() -> None:
    async with house(Policy.ONESHOT, Scale(standby=0, max_workers=1)) as there:
        worker, first = await there.busy_worker()
        second = there.call()
        assert there.pool._crew.starting() == 0
        worker.answer()
        assert await first.end() == 200
        await worker.told("beforeunload")
        third = there.call()
        assert there.pool._crew.starting() == 0
        worker.exit()
        for caller in (second, third):
            following = await there.ready_worker()
            await following.answers(1)
            assert await caller.end() == 200
            await following.obeys()


class TestReload:
    async def reloaded(self, there: House) -> None:
        there.pool.reload(replace(there.function, limits=Limits(unload_grace_ms=1)))

    async def test_new_requests_get_a_new_worker_and_the_old_one_finishes(self) -> None:
        async with house() as there:
            old, running = await there.busy_worker()
            await self.reloaded(there)
            await old.told("beforeunload")
            await there.served_worker()
            assert not running.ended.done()
            old.answer()
            assert await running.end() == 200
            old.say(type="unloaded", reason="termination")
            await old.told("exit")
            old.exit()

    async def test_takes_effect_with_all_that_the_settings_say(self) -> None:
        async with house() as there:
            await there.served_worker()
            there.engine.asked.clear()
            scale = Scale(standby=0, max_workers=1, concurrency=1)
            there.pool.reload(replace(there.function, scale=scale, verify_jwt=True, log=LogLimits(1, burst_lines=1)))
            assert there.pool.verify_jwt
            # Before somebody asks for it.
            await asyncio.wait_for(there.engine.asked.wait(), PATIENCE_S)
            worker, first = await there.busy_worker()
            second = there.call()
            assert there.pool.snapshot().waiting == 1
            for _ in range(10):
                worker.say(type="log", level="info", text="on and on")
            worker.answer()
            await worker.answers(2)
            assert [await first.end(), await second.end()] == [200, 200]
            there.pool.close(EndReason.TERMINATION)
            await worker.obeys()
            there.pool.kill(EndReason.TERMINATION)
            await there.ended()
            assert sum(event["lines"] for event in there.events("log_suppressed")) == 10 - len(there.events("log")) > 0

    async def test_that_waits_is_renewed_with_the_rest(self) -> None:
        async with house() as there:
            there.call()
            await there.worker()
            there.pool.reload(replace(there.function, verify_jwt=True))
            there.pool.renew()
            assert (there.pool.wanted.verify_jwt, there.pool.verify_jwt) == (True, False)

    async def test_during_a_start_waits_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change, "MAX_HOLD_S", 600)
        async with house() as there:
            first = there.call()
            old = await there.worker()
            await self.reloaded(there)
            second = there.call()
            await old.booted()
            await old.answers(2)
            assert await first.end() == await second.end() == 200
            await old.told("beforeunload")
            third = there.call()
            new = await there.ready_worker()
            await new.answers(1)
            assert await third.end() == 200
            assert third.execution_id != first.execution_id

    async def test_during_a_preparation_waits_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change, "MAX_HOLD_S", 600)
        async with house() as there:
            first, second = there.engine.gate, asyncio.Event()
            first.clear()
            there.pool.prepare()
            await there.engine.asked.wait()
            there.engine.gate = second
            for generation, gate in enumerate((first, second)):
                there.pool.reload(there.function)
                assert there.generation == generation
                preparing = there.pool.prepare()
                gate.set()
                await preparing
                assert there.generation == generation + 1

    async def test_makes_it_no_news_what_was_wrong_with_the_files_before(self) -> None:
        async with house() as there:
            earlier = there.engine.gate
            earlier.clear()
            there.engine.error = OutlastError("half of a file")
            caller = there.call()
            await there.engine.asked.wait()
            there.engine.error, there.engine.gate = None, asyncio.Event()
            there.pool.reload(there.function, at_once=True)
            earlier.set()
            there.engine.gate.set()
            await (await there.ready_worker()).answers(1)
            assert await caller.end() == 200
            assert not there.events("boot_failure")

    async def test_ends_the_preparation_of_what_nobody_waits_for(self) -> None:
        async with house() as there:
            there.engine.gate.clear()
            caller = there.call()
            await there.engine.asked.wait()
            there.pool.reload(there.function, at_once=True)
            caller.exchange.cancel()
            await asyncio.wait_for(there.engine.cancelled.wait(), PATIENCE_S)
            there.pool.close(EndReason.TERMINATION)
            await there.ended()

    async def test_does_not_wait_for_a_preparation_that_hangs(self) -> None:
        async with house() as there:
            there.engine.gate.clear()
            caller = there.call()
            await there.engine.asked.wait()
            there.engine.gate = asyncio.Event()
            there.engine.gate.set()
            there.pool.reload(there.function, at_once=True)
            await (await there.ready_worker()).answers(1)
            assert await caller.end() == 200
            await asyncio.wait_for(there.engine.cancelled.wait(), PATIENCE_S)

    async def test_leaves_those_that_wait_what_is_prepared_for_them(self) -> None:
        async with house() as there:
            earlier = there.engine.gate
            earlier.clear()
            first = there.call()
            await there.engine.asked.wait()
            there.engine.gate = asyncio.Event()
            there.pool.reload(replace(there.function, limits=Limits(wall_clock_ms=0)), at_once=True)
            second = there.call()
            earlier.set()
            old = await there.ready_worker()
            await old.has(1)
            [worker] = there.pool.snapshot().workers
            assert (worker.is_current, worker.wall_limit_ms) == (False, Limits().wall_clock_ms)
            there.engine.gate.set()
            new = await there.ready_worker()
            await new.has(1)
            for one in (old, new):
                one.answer()
            assert [await first.end(), await second.end()] == [200, 200]
            assert [first.execution_id, second.execution_id] == [old.execution_id, new.execution_id]

    async def test_leaves_what_it_imported_under_watch(self) -> None:
        async with house() as there:
            imported = there.engine.modules = frozenset([Path("/elsewhere/lib.ts")])
            await there.pool.prepare()
            there.engine.gate.clear()
            there.pool.reload(there.function)
            assert there.pool.modules == imported

    async def test_does_not_wait_long_for_a_start_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change, "MAX_HOLD_S", 0.01)
        async with house() as there:
            first = there.call()
            hanging = await there.worker()
            await hanging.boots()
            await self.reloaded(there)
            # Started for the one that waits already.
            new = await there.ready_worker()
            await new.has(1)
            second = there.call()
            await new.answers(2)
            assert await first.end() == await second.end() == 200
            assert there.generation == 1
            end = await there.logged("shutdown")
            assert (end["execution_id"], end["reason"]) == (hanging.execution_id, "reload")
            assert not there.events("boot_failure")

    async def test_waits_for_the_tasks_of_a_start_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change, "MAX_HOLD_S", 0.01)
        async with house() as there:
            there.call()
            hanging = await there.worker()
            await hanging.boots()
            hanging.say(type="task_started", task=1, name="top-level")
            hanging.say(type="log", level="info", text="started")
            await there.logged("log")
            await self.reloaded(there)
            new = await there.ready_worker()
            await new.has(1)
            assert not there.events("shutdown")
            await hanging.serve()
            await hanging.told("beforeunload")
            assert not there.events("task")

    async def test_an_outdated_worker_serves_those_it_was_started_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change, "MAX_HOLD_S", 0.01)
        async with house() as there:
            first = there.call()
            old = await there.worker()
            await self.reloaded(there)
            new = await there.worker()
            second = there.call()
            await old.booted()
            await old.answers(1)
            assert await first.end() == 200
            assert first.execution_id == old.execution_id
            await new.booted()
            await new.answers(1)
            assert await second.end() == 200
            assert (old.requests, new.requests) == (1, 1)

    async def test_files_that_could_not_be_prepared_and_are_fixed_meanwhile_fail_nobody(self) -> None:
        async with house(Policy.ONESHOT) as there:
            there.engine.gate.clear()
            there.engine.error = OutlastError("half of a file")
            callers = [there.call(), there.call()]
            await there.engine.asked.wait()
            there.engine.error = None
            await self.reloaded(there)
            assert there.generation == 0
            there.engine.gate.set()
            fixed = [await there.worker() for _ in callers]
            assert there.pool._crew.starting() == len(fixed)
            for one in fixed:
                await one.booted()
                await one.answers(1)
            assert [await caller.end() for caller in callers] == [200, 200]
            assert there.events("boot_failure")[0]["msg"] == "half of a file"

    async def test_outdated_workers_serve_no_more_than_they_may(self) -> None:
        async with house(Policy.PER_REQUEST) as there:
            callers = [there.call(), there.call()]
            old = [await there.worker() for _ in callers]
            there.pool.reload(there.function, at_once=True)
            for one in old:
                await one.booted()
                await one.answers(1)
            assert [await caller.end() for caller in callers] == [200, 200]

    async def test_code_that_failed_to_boot_and_is_fixed_meanwhile_fails_nobody(self) -> None:
        async with house() as there:
            caller = there.call()
            broken = await there.worker()
            await self.reloaded(there)
            await broken.connect()
            broken.say(type="boot_failed", error="SyntaxError: half of a file")
            fixed = await there.ready_worker()
            await fixed.answers(1)
            assert await caller.end() == 200
            assert there.events("boot_failure")[0]["msg"] == "SyntaxError: half of a file"


class TestTheEnd:
    async def test_what_waits_is_served_first(self) -> None:
        async with house() as there:
            caller = there.call()
            there.pool.close(EndReason.TERMINATION)
            worker = await there.ready_worker()
            await worker.answers(1)
            assert await caller.end() == 200
            await worker.obeys()
            await there.ended()

    async def test_comes_at_once_where_nothing_runs(self) -> None:
        async with house() as there:
            there.engine.gate.clear()
            there.pool.prepare()
            await there.engine.asked.wait()
            there.pool.close(EndReason.TERMINATION)
            await there.ended()
            await asyncio.wait_for(there.engine.cancelled.wait(), PATIENCE_S)

    async def test_a_kill_while_the_function_is_prepared(self) -> None:
        async with house() as there:
            there.engine.gate.clear()
            caller = there.call()
            await asyncio.sleep(0)
            there.pool.close(EndReason.TERMINATION)
            there.pool.kill(EndReason.TERMINATION)
            assert await caller.end() is RequestEnd.WORKER_BUSY
            await there.ended()
            await asyncio.wait_for(there.engine.cancelled.wait(), PATIENCE_S)
            assert there.spawned.empty()

    async def test_a_kill_just_before_the_process_is_started(self) -> None:
        async with house() as there:
            await there.pool.prepare()
            caller = there.call()
            there.pool.close(EndReason.TERMINATION)
            there.pool.kill(EndReason.TERMINATION)
            assert await caller.end() is RequestEnd.WORKER_BUSY
            await asyncio.sleep(0)
            assert there.pool._crew.is_empty

    async def test_a_kill_while_the_process_is_started(self) -> None:
        async with house() as there:
            there.spawning.clear()
            caller = there.call()
            worker = await there.worker()
            there.pool.close(EndReason.TERMINATION)
            there.pool.kill(EndReason.TERMINATION)
            assert await caller.end() is RequestEnd.WORKER_BUSY
            # It comes up before it can be killed.
            await worker.connect()
            there.spawning.set()
            await there.ended()
            assert there.events("shutdown")[0]["reason"] == "termination"
            assert not there.events("boot_failure")

    async def test_a_request_that_comes_after_the_kill_is_refused(self) -> None:
        async with house() as there:
            there.engine.gate.clear()
            caller = there.call()
            late = []
            # A connection goes on to its next request at once.
            caller.then = lambda: late.append(there.call())
            there.pool.close(EndReason.TERMINATION)
            there.pool.kill(EndReason.TERMINATION)
            assert await late[0].end() is RequestEnd.WORKER_BUSY
            assert caller.why == late[0].why == "the server shut down before its answer was complete"
            await there.ended()

    async def test_a_worker_that_boots_for_somebody_is_told_when_it_has(self) -> None:
        async with house() as there:
            caller = there.call()
            worker = await there.worker()
            await worker.boots()
            # What changes now is of no interest any more.
            there.pool.reload(there.function)
            there.pool.close(EndReason.TERMINATION)
            there.pool.reload(there.function, at_once=True)
            await worker.serve()
            await worker.answers(1)
            assert await caller.end() == 200
            await worker.obeys()
            await there.ended()
            [end] = there.events("shutdown")
            assert end["reason"] == "termination"
            assert there.generation == 0

    async def test_an_outdated_worker_that_boots_for_somebody_is_told_as_well(self) -> None:
        async with house() as there:
            caller = there.call()
            worker = await there.worker()
            there.pool.reload(there.function, at_once=True)
            there.pool.close(EndReason.TERMINATION)
            await worker.booted()
            await worker.answers(1)
            assert await caller.end() == 200
            assert there.events("retire")[0]["reason"] == "termination"

    @pytest.mark.parametrize("leaves", ["before", "after"])
    async def test_a_worker_that_boots_for_nobody_is_ended_at_once(self, leaves: str) -> None:
        async with house() as there:
            caller = there.call()
            worker = await there.worker()
            await worker.boots()
            if leaves == "before":
                caller.exchange.cancel()
            there.pool.close(EndReason.TERMINATION)
            if leaves == "after":
                caller.exchange.cancel()
            await there.ended()
            [end] = there.events("shutdown")
            assert end["reason"] == "termination"
            assert not there.events("boot_failure")

    @pytest.mark.parametrize("why", ["its caller leaves", "it has waited too long"])
    async def test_comes_with_the_last_request_that_waits_where_no_worker_may_be_started(
        self, monkeypatch: pytest.MonkeyPatch, why: str
    ) -> None:
        monkeypatch.setattr(balance, "boot_delay_s", lambda failures: 600.0)
        monkeypatch.setattr(backlog, "LOOK_EVERY_S", 0.05)
        async with house() as there:
            worker, caller = await there.busy_worker()
            worker.exit(1)
            assert await caller.end() is RequestEnd.WORKER_ERROR
            await there.logged("boot_delay")
            await there.buried(worker)
            if why == "it has waited too long":
                monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
            caller = there.call()
            there.pool.close(EndReason.TERMINATION)
            assert there.pool.snapshot().waiting == 1
            assert not there.pool._ended.is_set()
            if why == "its caller leaves":
                caller.exchange.cancel()
            await there.ended()
            assert there.spawned.empty()

    async def test_what_is_wrong_with_files_that_nobody_waits_for_is_no_news(self) -> None:
        async with house() as there:
            worker, caller = await there.busy_worker()
            there.engine.gate.clear()
            there.engine.error = OutlastError("index.ts: no such file")
            there.pool.reload(there.function)
            there.pool.close(EndReason.RELOAD)
            there.engine.gate.set()
            worker.answer()
            assert await caller.end() == 200
            await worker.obeys()
            await there.ended()
            assert not there.events("boot_failure")


async def test_a_worker_that_stands_still_is_gone_round_until_it_goes_on() -> None:
    async with house() as there:

        async def loop_of(worker: Stub, *, stuck: bool) -> None:
            there.lines.clear()
            worker.say(type="loop", stuck=stuck)
            worker.say(type="log", level="info", text="said it")
            await there.logged("log")

        one, first = await there.busy_worker()
        await loop_of(one, stuck=True)
        other = await there.served_worker()
        await loop_of(one, stuck=False)
        one.answer()
        assert await first.end() == 200
        both = [there.call(), there.call()]
        await one.has(2)
        await other.has(2)
        one.answer()
        other.answer()
        assert [await caller.end() for caller in both] == [200, 200]
        assert there.spawned.empty()
