"""What a worker may do to its node, and what it may not."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import uvloop
from tests.supervisor.stub_workers import PATIENCE_S, house

from outlast.core.limits import Step
from outlast.core.outcome import EndReason, RequestEnd, UnloadReason
from outlast.core.policy import Policy
from outlast.core.records import WorkerQuery
from outlast.supervisor import lifecycle, process, register
from outlast.supervisor.channel import Output
from outlast.supervisor.worker import CUT_OFF_AT_ONCE, Worker


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON\n",
        b'{"type": "unheard of"}\n',
        b'{"type": "task_settled", "task": 7, "outcome": "fulfilled"}\n',
        b'{"type": "task_started", "task": 1}\n' * 2,
        b'{"type": "log", "x": ' + b"[" * 20_000 + b"\n",
        b"x" * (1024 * 1024 + 1),
    ],
    ids=["no JSON", "unknown message", "unknown task", "a task twice", "nested too deeply", "endless line"],
)
async def test_a_breach_of_the_protocol_ends_that_worker_alone(line: bytes) -> None:
    async with house() as there:
        worker, caller = await there.busy_worker()
        assert worker._control is not None
        worker._control.write(line)
        assert await caller.end() is RequestEnd.WORKER_ERROR
        await there.logged("shutdown")
        [end] = there.events("shutdown")
        assert (end["reason"], end["level"]) == ("protocol", "error")
        assert "control channel" in there.events("uncaught")[0]["msg"]
        await there.served_worker()


async def test_what_a_worker_said_before_a_breach_counts_in_its_order() -> None:
    async with house() as there:
        worker, caller = await there.busy_worker()
        said: list[dict[str, object]] = [
            *({"type": "task_started", "task": number, "name": f"task {number}"} for number in (1, 2, 3, 4)),
            {"type": "task_settled", "task": 1, "outcome": "fulfilled"},
            {"type": "task_settled", "task": 3, "outcome": "fulfilled"},
            {"type": "log", "level": "info", "text": "between"},
            {"type": "task_settled", "task": 2, "outcome": "fulfilled"},
        ]
        assert worker._control is not None
        worker._control.write(b"".join(json.dumps(message).encode() + b"\n" for message in said) + b"a breach\n")
        assert await caller.end() is RequestEnd.WORKER_ERROR
        await there.logged("shutdown")
        heard = [entry.get("name") or entry["msg"] for entry in there.entries if entry["event"] in ("task", "log")]
        assert heard == ["task 1", "task 3", "between", "task 2", "task 4"]
        assert [entry["outcome"] for entry in there.events("task")] == [*["fulfilled"] * 3, "interrupted"]


async def test_a_socket_outside_of_its_folder_is_a_breach_too() -> None:
    async with house() as there:
        caller = there.call()
        worker = await there.worker()
        await worker.boots()
        worker.say(type="ready", socket="../../else.sock")
        assert await caller.end() is RequestEnd.BOOT_ERROR
        assert (await there.logged("shutdown"))["reason"] == "protocol"


async def test_a_second_control_channel_is_cut_off_and_changes_nothing() -> None:
    async with house() as there:
        worker, caller = await there.busy_worker()
        reader, writer = await asyncio.open_unix_connection(str(worker.folder / "control.sock"))
        assert await reader.read() == b""
        writer.close()
        worker.answer()
        assert await caller.end() == 200
        assert not there.events("shutdown")


async def test_a_worker_that_hangs_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "EXIT_GRACE_S", 0.01)
    async with house() as there:
        worker, _ = await there.busy_worker()
        assert worker._control is not None
        worker._control.close()
        await there.logged("shutdown")
        assert there.events("shutdown")[0]["reason"] == "protocol"


def test_nothing_fails_that_is_said_to_a_worker_which_has_hung_up() -> None:
    # The event loop of a node, unlike asyncio's own, refuses what is written to a closed connection.
    uvloop.run(_said_to_a_worker_which_has_hung_up())


async def _said_to_a_worker_which_has_hung_up() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        known = there.worker_of(worker)
        assert worker._control is not None
        worker._control.close()
        # This returns when the node has noticed.
        await known.catch_up()
        await known.catch_up()
        there.pool.reload(there.function)
        await there.served_worker()


async def test_a_worker_that_does_not_end_when_told_is_ended_but_not_at_once() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        there.pool.reload(there.function)
        worker.answer()
        await worker.told("beforeunload")
        worker.say(type="unloaded", reason="termination")
        await worker.told("exit")
        told_s = asyncio.get_running_loop().time()
        await there.logged("shutdown")
        # Listeners of `unload` run meanwhile.
        assert asyncio.get_running_loop().time() - told_s > lifecycle.EXIT_GRACE_S / 2
        assert there.events("shutdown")[0]["reason"] == "reload"


@pytest.mark.parametrize(
    ("code", "starts_task", "reason"), [(0, False, "reload"), (3, False, "exit"), (0, True, "exit")]
)
async def test_a_listener_may_end_the_process_if_nothing_is_left_to_do(
    code: int, starts_task: bool, reason: str
) -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        there.pool.reload(there.function)
        worker.answer()
        await worker.told("beforeunload")
        if starts_task:
            worker.say(type="task_started", task=1, unloading=True)
        worker.exit(code)
        await there.logged("shutdown")
        [end] = there.events("shutdown")
        assert (end["reason"], end["level"]) == (reason, "info" if reason == "reload" else "error")


async def test_listeners_that_never_come_to_an_end_have_their_grace() -> None:
    async with house(unload_grace_ms=10) as there:
        worker, _ = await there.busy_worker()
        there.pool.reload(there.function)
        worker.answer()
        await worker.told("beforeunload")
        await worker.told("exit")


@pytest.mark.parametrize("leaves", [True, False], ids=["the caller leaves", "it has waited too long"])
async def test_a_worker_is_told_of_a_request_that_nobody_waits_for(leaves: bool) -> None:
    async with house(request_idle_ms=0 if leaves else 50) as there:
        worker, caller = await there.busy_worker()
        if leaves:
            caller.exchange.cancel()
        else:
            assert await caller.end() is RequestEnd.IDLE_TIMEOUT
        await worker.told("abandoned")
        assert worker.abandoned == ["r-1"]
        worker.say(type="task_started", task=1, name="GET /stub", request="r-1")
        worker.say(type="log", level="info", text="begun")
        await there.logged("log")
        there.pool.reload(there.function)
        await worker.told("beforeunload")
        worker.say(type="unloaded", reason="termination")
        worker.say(type="task_settled", task=1, outcome="fulfilled")
        await worker.told("exit")


async def test_it_knows_that_a_caller_has_left_when_it_is_asked_what_it_still_does() -> None:
    async with house() as there:
        caller = there.call()
        worker = await there.ready_worker()
        await worker.has(1)
        worker.keeps_silent = True
        there.pool.reload(there.function)
        await worker.told("beforeunload")
        caller.exchange.cancel()
        question = await worker.question()
        assert worker.abandoned == ["r-1"]
        worker.say(type="unloaded", reason="termination")
        worker.say(type="pong", number=question)
        await worker.told("abandoned")
        await worker.told("exit")


async def test_it_is_not_told_of_a_response_that_is_complete() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        caller = there.call()
        await worker.answers(2)
        assert await caller.end() == 200
        caller.exchange.cancel()
        there.pool.reload(there.function)
        await worker.told("beforeunload")


async def test_a_task_outlasts_a_response_that_is_heard_of_before_it() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        worker.keeps_silent = True
        there.pool.reload(there.function)
        await worker.told("beforeunload")
        worker.say(type="unloaded", reason="termination")
        worker.answer()
        question = await worker.question()
        assert worker.is_without_clients
        worker.say(type="task_started", task=1, name="send-email")
        worker.say(type="pong", number=question)
        heard = asyncio.create_task(there.worker_of(worker).catch_up())
        worker.say(type="pong", number=await worker.question())
        await heard
        assert not worker.is_without_clients
        worker.say(type="task_settled", task=1, outcome="fulfilled")
        # Asked again, so that it was not ended before.
        question = await worker.question()
        assert worker.heard.empty()
        worker.say(type="pong", number=question)
        await worker.told("exit")
        worker.exit(0)
        await there.logged("shutdown")
        assert [task["outcome"] for task in there.events("task")] == ["fulfilled"]


async def test_listeners_are_told_of_the_shutdown_alone_where_that_comes_just_before_another_end() -> None:
    async with house(Policy.ONESHOT) as there:
        worker, _ = await there.busy_worker()
        worker.keeps_silent = True
        worker.answer()
        question = await worker.question()
        there.pool.close(EndReason.TERMINATION)
        await worker.told("beforeunload")
        assert worker.unloads_for == "termination"
        worker.say(type="unloaded", reason="termination")
        worker.say(type="pong", number=question)
        await worker.told("exit")


async def test_listeners_are_told_of_a_limit_that_comes_near_while_others_run() -> None:
    async with house() as there:
        worker = await there.served_worker()
        worker.say(type="uncaught", error="Error: nobody caught me")
        await worker.told("beforeunload")
        assert worker.unloads_for == "early_drop"
        for _ in range(2):
            there.judge(worker, Step.WARN, UnloadReason.CPU)
        await worker.told("beforeunload")
        assert worker.unloads_for == "cpu"
        worker.say(type="unloaded", reason="early_drop")
        await worker.told("exit")


async def test_a_worker_that_does_not_say_whether_it_has_more_to_say_has_its_grace() -> None:
    async with house(unload_grace_ms=10) as there:
        worker, _ = await there.busy_worker()
        worker.keeps_silent = True
        there.pool.reload(there.function)
        worker.answer()
        await worker.told("beforeunload")
        await worker.question()
        await worker.told("exit")


async def test_a_worker_whose_limits_are_off_has_all_the_time_to_begin_and_to_end() -> None:
    async with house(boot_timeout_ms=0, unload_grace_ms=0) as there:
        caller = there.call()
        worker = await there.worker()
        await worker.boots()
        await there.worker_of(worker).catch_up()
        await worker.serve()
        await worker.answers(1)
        assert await caller.end() == 200
        there.pool.reload(there.function)
        await worker.told("beforeunload")
        await there.worker_of(worker).catch_up()
        assert worker.heard.empty()
        worker.say(type="unloaded", reason="termination")
        await worker.told("exit")


async def test_what_listeners_begin_has_its_grace_when_all_else_is_done() -> None:
    async with house(unload_grace_ms=10) as there:
        worker, _ = await there.busy_worker()
        worker.say(type="task_started", task=1, name="send-email")
        there.pool.reload(there.function)
        await worker.told("beforeunload")
        # It begins before the worker has nothing else to do, and never ends.
        worker.say(type="task_started", task=2, name="save-visits", unloading=True)
        worker.answer()
        worker.say(type="task_settled", task=1, outcome="fulfilled")
        await worker.told("exit")
        worker.exit(0)
        await there.logged("shutdown")
        done, cut = there.events("task")
        assert (done["name"], done["outcome"]) == ("send-email", "fulfilled")
        assert (cut["name"], cut["outcome"], cut["reason"]) == ("save-visits", "interrupted", "reload")
        assert "has 10 ms" in cut["msg"]
        assert "unload_grace_ms" in cut["msg"]


async def test_open_tasks_keep_a_retired_worker_and_are_named_when_it_dies() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        worker.say(type="task_started", task=1, name="send-email", request="r-1")
        worker.say(type="task_started", task=2, name="other")
        worker.say(type="log", level="info", text="begun")
        await there.logged("log")
        there.pool.reload(there.function)
        worker.answer()
        await worker.told("beforeunload")
        worker.say(type="task_settled", task=2, outcome="fulfilled")
        await there.logged("task")
        assert worker.heard.empty()
        worker.exit(-11)
        await there.logged("shutdown")
        done, cut = there.events("task")
        assert (done["name"], done["outcome"]) == ("other", "fulfilled")
        assert (cut["name"], cut["outcome"], cut["reason"]) == ("send-email", "interrupted", "crash")
        assert (cut["level"], cut["request_id"]) == ("warning", "r-1")


@pytest.mark.parametrize(
    "failure",
    [{"type": "uncaught", "error": "Error"}, {"type": "task_settled", "task": 1, "outcome": "rejected"}],
    ids=["an error", "a task"],
)
async def test_one_that_fails_waits_for_a_slow_reader_of_the_log(failure: dict[str, str]) -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        known = there.worker_of(worker)
        worker.say(type="task_started", task=1)
        known._pressure.rise()
        worker.say(**failure)
        await there.logged("task" if "task" in failure else "uncaught")
        assert known._lifecycle.process._is_held_back
        worker.say(type="log", level="info", text="on and on")
        known._pressure.fall()
        await there.logged("log")
        assert not known._lifecycle.process._is_held_back


async def test_lines_that_come_together_are_looked_at_together() -> None:
    heard: list[list[str]] = []
    reading, writing = os.pipe()
    output = await Output.read(reading, heard.append)
    os.write(writing, b"\n" * 1_000 + b"end")
    os.close(writing)
    await output.closed
    assert heard == [[""] * 1_000, ["end"]]


async def test_it_has_lived_as_long_as_it_did_whatever_the_clock_was_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        monkeypatch.setattr(register.time, "time_ns", lambda: 10**18)
        worker.exit()
        await there.logged("shutdown")
        [record] = (await there.ledger.workers(WorkerQuery())).items
        assert record.ended == datetime.fromtimestamp(10**9, UTC)
        assert record.ms is not None
        assert 0 < record.ms < PATIENCE_S * 1000


async def test_others_have_their_turns_while_many_tasks_are_cut_off() -> None:
    count = 3 * CUT_OFF_AT_ONCE
    async with house() as there:
        worker, caller = await there.busy_worker()
        for number in range(count):
            worker.say(type="task_started", task=number)
        worker.say(type="log", level="info", text="begun")
        await there.logged("log")
        worker.exit(-11)
        await there.logged("task")
        assert len(there.events("task")) < count
        assert there.pool.snapshot().workers == []
        # Nor do callers wait for that.
        assert caller.ended.done()
        await there.logged("shutdown")
        assert len(there.events("task")) == count


async def test_what_it_had_to_say_is_known_when_it_has_answered_a_ping() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        worker.keeps_silent = True
        first, second = (asyncio.create_task(there.worker_of(worker).catch_up()) for _ in range(2))
        assert [await worker.question(), await worker.question()] == [1, 2]
        worker.say(type="pong", number=3)
        worker.say(type="task_started", task=1, name="just-begun")
        worker.say(type="pong", number=1)
        await first
        assert there.pool.snapshot().open_tasks == 1
        assert not second.done()
        worker.exit(1)
        await second


async def test_what_it_said_right_before_its_death_is_heard() -> None:
    async with house() as there:
        worker, _ = await there.busy_worker()
        worker.say(type="task_started", task=1, name="last-minute")
        worker.exit(1)
        await there.logged("shutdown")
        [task] = there.events("task")
        assert (task["name"], task["reason"]) == ("last-minute", "exit")


@pytest.mark.parametrize("done", [Worker.kill, Worker.retire])
async def test_what_is_done_to_it_after_its_death_is_not_what_it_died_of(
    done: Callable[[Worker, EndReason], None],
) -> None:
    async with house(unload_grace_ms=20) as there:
        worker = await there.served_worker()
        worker.die(3)
        for _ in range(4):
            await asyncio.sleep(0)
        done(there.worker_of(worker), EndReason.WALL_CLOCK)
        assert (await there.logged("shutdown"))["reason"] == "exit"
        assert not there.events("beforeunload")
        worker.hang_up()


async def test_the_last_that_it_had_to_say_is_read_at_once_also_where_nobody_reads_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "LAST_WORDS_S", 60)
    async with house() as there:
        worker, _ = await there.busy_worker()
        there.worker_of(worker)._pressure.rise()
        worker.say(type="log", level="info", text="one")
        await there.logged("log")
        worker.say(type="log", level="info", text="two")
        worker.exit(3)
        assert (await there.logged("shutdown"))["reason"] == "exit"
        assert len(there.events("log")) == 2


async def test_an_uncaught_error_retires_it_and_the_next_request_has_another() -> None:
    async with house() as there:
        worker, caller = await there.busy_worker()
        worker.say(type="uncaught", error="Error: nobody caught me")
        await there.logged("retire")
        again = there.call()
        other = await there.ready_worker()
        await other.answers(1)
        worker.answer()
        assert await caller.end() == await again.end() == 200
        assert worker.requests == 1


async def test_what_went_wrong_before_it_was_ready_is_told_once() -> None:
    async with house() as there:
        caller = there.call()
        worker = await there.worker()
        await worker.boots()
        worker.prints("a warning of the runtime's\n")
        worker.say(type="uncaught", error="Error: nobody caught me")
        await there.logged("uncaught")
        await worker.serve()
        await worker.answers(1)
        assert await caller.end() == 200
        await there.logged("log")
        told = [entry["msg"] for entry in there.entries if entry["level"] == "error"]
        assert sorted(told) == ["Error: nobody caught me", "a warning of the runtime's"]


async def test_one_that_is_ready_before_the_node_knows_its_process_has_limits_as_others_have() -> None:
    async with house(wall_clock_ms=100) as there:
        there.spawning.clear()
        _, caller = await there.busy_worker()
        there.spawning.set()
        assert await caller.end() is RequestEnd.WORKER_LIMIT
        assert (await there.logged("shutdown"))["reason"] == "wall_clock"
