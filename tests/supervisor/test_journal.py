"""What the log and the ledger hold of a worker's life."""

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outlast.config.settings import FunctionSettings
from outlast.core.balance import Scale
from outlast.core.language import Language
from outlast.core.limits import Limits, Step, Verdict
from outlast.core.outcome import EndReason, TaskOutcome, UnloadReason
from outlast.core.printing import LogLimits
from outlast.core.records import TaskRecord, WorkerQuery
from outlast.engines.processes import Exit
from outlast.ledger.memory import MemoryLedger
from outlast.supervisor.ending import End
from outlast.supervisor.journal import Journal
from outlast.supervisor.register import Moment, Register
from outlast.supervisor.tasks import Task
from outlast.telemetry.logs import Format, Level, Log
from outlast.telemetry.quota import Quota
from outlast.wire.messages import TaskStarted

FUNCTION = FunctionSettings(
    name="stub",
    folder=Path("/stub"),
    entrypoint=Path("/stub/index.ts"),
    language=Language.TYPESCRIPT,
    verify_jwt=False,
    env={},
    limits=Limits(),
    scale=Scale(),
)
WORKER = {"function": "stub", "execution_id": "e-1"}
RELOAD = End(EndReason.RELOAD, Exit(0, 40, 30), limit=None, boot_error=None, ready_ms=900, grace_ms=None)


class Desk:
    """A journal, and what it has told."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.log = Log(self._lines.append, format=Format.JSON)
        self.log.observer = self
        self.durations_ms: list[float] = []
        self.settled: list[TaskRecord] = []
        self.ledger = MemoryLedger()
        quota = Quota("stub", LogLimits(1, burst_lines=2), self.log)
        register = Register(self.ledger, "n-1", self)
        self.journal = Journal(self.log, register, FUNCTION, "e-1", quota)

    def told(self) -> list[dict[str, Any]]:
        """The events since the last time, without what is the same in all."""
        told = [json.loads(line) for line in self._lines]
        self._lines.clear()
        for event in told:
            assert {name: event.pop(name) for name in WORKER} == WORKER
            del event["ts"]
        return told

    def start(self, name: str = "", request: str = "") -> Task:
        moment = self.journal.now()
        return Task(self.journal.task_started(TaskStarted(1, name, request), moment), moment.loop_s, False)

    # Implements `outlast.supervisor.register.Observer` and `outlast.telemetry.logs.Observer`.

    def task_started(self, record: TaskRecord) -> None: ...

    def tasks_settled(self, records: Sequence[TaskRecord]) -> None:
        self.settled += records

    def tasks_fulfilled(self, function: str, durations_ms: Sequence[float]) -> None:
        assert function == "stub"
        self.durations_ms += durations_ms

    def emitted(self, *_: object) -> None: ...

    def request_ended(self, *_: object) -> None: ...


def later(task: Task, ms: int) -> Moment:
    return Moment(task.started_at + ms / 1000, 0, task.record.started)


async def test_a_life() -> None:
    desk = Desk()
    [record] = (await desk.ledger.workers(WorkerQuery())).items
    assert record.ready is None
    desk.journal.booted(7)
    assert record.ready is not None
    desk.journal.retired(EndReason.UNCAUGHT)
    desk.journal.warned(UnloadReason.EARLY_DROP)
    desk.journal.ended(RELOAD, 1_000, requests=5, is_news=True)
    assert desk.told() == [
        {"level": "info", "event": "boot", "ms": 7},
        {"level": "info", "event": "retire", "reason": "uncaught"},
        {"level": "info", "event": "beforeunload", "reason": "early_drop"},
        {"level": "info", "event": "shutdown", "reason": "reload", "cpu_ms": 40, "memory_mb": 30, "wall_ms": 1_000},
    ]
    assert (record.reason, record.requests, record.cpu_ms, record.memory_mb) == (EndReason.RELOAD, 5, 40, 30)


async def test_an_end_that_is_no_news_is_in_the_ledger_alone() -> None:
    desk = Desk()
    desk.journal.ended(RELOAD, 1_000, requests=0, is_news=False)
    assert desk.told() == []
    [record] = (await desk.ledger.workers(WorkerQuery())).items
    assert record.reason is EndReason.RELOAD


async def test_a_boot_that_failed() -> None:
    desk = Desk()
    desk.journal.boot_failed("SyntaxError", 7)
    assert desk.told() == [{"level": "error", "event": "boot_failure", "msg": "SyntaxError", "ms": 7}]


async def test_the_end_of_one_that_reached_a_limit_says_which_and_how_to_raise_it() -> None:
    desk = Desk()
    limit = Verdict(Step.KILL, UnloadReason.MEMORY, 300, 256)
    desk.journal.ended(replace(RELOAD, reason=EndReason.MEMORY, limit=limit), 1_000, requests=5, is_news=True)
    [end] = desk.told()
    assert (end["level"], end["used"], end["limit"]) == ("error", 300, 256)
    assert end["msg"] == (
        "the worker reached its memory limit: 300 MiB used, 256 MiB allowed. "
        "To raise it: [functions.stub.limits] memory_mb in outlast.toml"
    )


async def test_an_end_that_nobody_asked_for_is_an_error_and_says_what_is_known() -> None:
    desk = Desk()
    crash = replace(RELOAD, reason=EndReason.CRASH, used=Exit(-signal.SIGSEGV, 40, 30))
    desk.journal.ended(crash, 1_000, requests=5, is_news=True)
    [end] = desk.told()
    assert (end["level"], end["msg"].startswith("the worker's process crashed (signal 11")) == ("error", True)
    assert "limit" not in end


async def test_lines_have_their_level_and_their_request_if_there_is_one() -> None:
    desk = Desk()
    desk.journal.printed(Level.WARNING, ["careful"], "r-1")
    desk.journal.noted(Level.INFO, "no request")
    desk.journal.uncaught("Error: one", "r-1")
    desk.journal.uncaught("Error: another")
    assert desk.told() == [
        {"level": "warning", "event": "log", "msg": "careful", "request_id": "r-1"},
        {"level": "info", "event": "log", "msg": "no request"},
        {"level": "error", "event": "uncaught", "msg": "Error: one", "request_id": "r-1"},
        {"level": "error", "event": "uncaught", "msg": "Error: another"},
    ]


async def test_lines_beyond_the_quota_are_left_out_and_those_below_the_level_do_not_count() -> None:
    desk = Desk()
    desk.journal.printed(Level.DEBUG, ["unseen"] * 10)
    desk.journal.printed(Level.INFO, ["one", "two", "three"])
    assert [event["msg"] for event in desk.told()] == ["one", "two"]


async def test_fulfilled_tasks() -> None:
    desk = Desk()
    named, nameless = desk.start("send-email", "r-1"), desk.start()
    moment = later(named, 250)
    nameless.started_at = named.started_at
    desk.journal.tasks_fulfilled([named, nameless], moment)
    of_both = {"level": "info", "event": "task", "outcome": "fulfilled", "ms": 250}
    assert desk.told() == [
        {**of_both, "task_id": named.record.id, "name": "send-email", "request_id": "r-1"},
        {**of_both, "task_id": nameless.record.id},
    ]
    assert desk.settled == [named.record, nameless.record]
    assert [record.ms for record in desk.settled] == desk.durations_ms == [250, 250]
    assert {(record.outcome, record.settled) for record in desk.settled} == {(TaskOutcome.FULFILLED, moment.at)}


async def test_fulfilled_tasks_are_counted_also_where_nobody_reads_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.log.level = Level.WARNING
    monkeypatch.setattr(desk.journal, "_fulfilled", None)
    task = desk.start()
    desk.journal.tasks_fulfilled([task], later(task, 250))
    assert (desk.told(), desk.durations_ms, desk.settled) == ([], [250], [task.record])


@pytest.mark.parametrize(
    ("outcome", "error", "level"),
    [(TaskOutcome.REJECTED, "Error: no\n  at send", "error"), (TaskOutcome.TIMED_OUT, "", "warning")],
)
async def test_a_task_that_failed(outcome: TaskOutcome, error: str, level: str) -> None:
    desk = Desk()
    task = desk.start("send-email", "r-1")
    desk.journal.task_failed(task, outcome, error, later(task, 250))
    [event] = desk.told()
    assert event == {
        **({"stack": error} if error else {}),
        "level": level,
        "event": "task",
        "request_id": "r-1",
        "task_id": task.record.id,
        "name": "send-email",
        "outcome": outcome,
        "ms": 250,
    }
    assert desk.settled == [task.record]
    assert (task.record.outcome, task.record.ms, task.record.error) == (outcome, 250, error or None)


async def test_a_task_that_was_cut_off_says_why_and_what_to_do() -> None:
    desk = Desk()
    task = desk.start("send-email")
    desk.journal.task_cut_off(task, replace(RELOAD, reason=EndReason.ONESHOT), 250)
    [event] = desk.told()
    assert (event["level"], event["outcome"], event["reason"], event["ms"]) == (
        "warning",
        "interrupted",
        "oneshot",
        250,
    )
    assert event["msg"].startswith('policy "oneshot" ends a worker with its response. policy = "per_worker" lets')
    assert desk.settled == [task.record]
    assert (task.record.outcome, task.record.reason) == (TaskOutcome.INTERRUPTED, EndReason.ONESHOT)
    assert (task.record.ms, task.record.error) == (250, 'policy "oneshot" ends a worker with its response')
