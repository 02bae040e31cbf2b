"""Writes one worker's life to the log and the ledger."""

import functools
from collections.abc import Sequence

import msgspec

from outlast.config.settings import FunctionSettings
from outlast.core.outcome import EndReason, TaskOutcome, UnloadReason
from outlast.core.records import TaskRecord
from outlast.supervisor.ending import End
from outlast.supervisor.register import Life, Moment, Register
from outlast.supervisor.tasks import Task
from outlast.telemetry.logs import Level, Log
from outlast.telemetry.quota import Quota

# In Python 3.11, an enumeration's member costs ten times as much to look up as a global name.
_FULFILLED, _FULFILLED_LEVEL = TaskOutcome.FULFILLED, Level.INFO
_TASK_LEVELS = {
    TaskOutcome.REJECTED: Level.ERROR,
    TaskOutcome.TIMED_OUT: Level.WARNING,
    TaskOutcome.INTERRUPTED: Level.WARNING,
}


class _Fulfilled(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The event of a fulfilled task. Nearly all tasks are fulfilled, so it is made at the least cost."""

    function: str
    execution_id: str
    request_id: str = ""
    task_id: str
    name: str = ""
    outcome: TaskOutcome
    ms: int


class Journal:
    """Has one method for each thing that can happen. A request id is empty for what happens outside requests."""

    def __init__(
        self, log: Log, register: Register, function: FunctionSettings, execution_id: str, quota: Quota
    ) -> None:
        self._log = log
        self._quota = quota
        self._life = Life(register, execution_id, function)
        self.now = self._life.now
        self.task_started = self._life.task_started
        self._function = function.name
        self._execution_id = execution_id
        self._emit = functools.partial(log.emit, function=function.name, execution_id=execution_id)

    def booted(self, ms: int) -> None:
        self._life.ready()
        self._emit("boot", ms=ms)

    def boot_failed(self, error: str, ms: int) -> None:
        self._emit("boot_failure", level=Level.ERROR, msg=error, ms=ms)

    def retired(self, reason: EndReason) -> None:
        self._emit("retire", reason=reason)

    def warned(self, reason: UnloadReason) -> None:
        self._emit("beforeunload", reason=reason)

    def printed(self, level: Level, texts: Sequence[str], request_id: str = "") -> None:
        """The function printed these; beyond its quota, they are only counted."""
        if self._log.takes(level):
            for text in texts[: self._quota.admits(len(texts))]:
                self.noted(level, text, request_id)

    def noted(self, level: Level, text: str, request_id: str = "") -> None:
        self._emit("log", level=level, msg=text, request_id=request_id or None)

    def uncaught(self, error: str, request_id: str = "") -> None:
        self._emit("uncaught", level=Level.ERROR, msg=error, request_id=request_id or None)

    def tasks_fulfilled(self, tasks: Sequence[Task], moment: Moment) -> None:
        log, now, at = self._log, moment.loop_s, moment.at
        records, durations_ms = [task.record for task in tasks], []
        for task in tasks:
            ms = round((now - task.started_at) * 1000)
            task.record.settle(_FULFILLED, at, ms)
            durations_ms.append(ms)
        self._life.tasks_settled(records)
        log.observer.tasks_fulfilled(self._function, durations_ms)
        if log.hears(_FULFILLED_LEVEL):
            for task, ms in zip(tasks, durations_ms, strict=True):
                self._fulfilled(task.record, ms)

    def _fulfilled(self, record: TaskRecord, ms: int) -> None:
        fulfilled = _Fulfilled(
            function=self._function,
            execution_id=self._execution_id,
            request_id=record.request_id or "",
            task_id=record.id,
            name=record.name or "",
            outcome=_FULFILLED,
            ms=ms,
        )
        self._log.emit_struct("task", fulfilled, _FULFILLED_LEVEL)

    def task_failed(self, task: Task, outcome: TaskOutcome, error: str, moment: Moment) -> None:
        """``outcome``: any but fulfilled."""
        ms = round((moment.loop_s - task.started_at) * 1000)
        task.record.settle(outcome, moment.at, ms, None, error)
        self._life.tasks_settled((task.record,))
        self._task(task, outcome, ms, stack=error or None)

    def task_cut_off(self, task: Task, end: End, ms: int) -> None:
        self._life.task_cut_off(task.record, end, ms)
        msg = f"{end.words}. {end.reason.remedy(self._function)}"
        self._task(task, TaskOutcome.INTERRUPTED, ms, reason=end.reason, msg=msg)

    def ended(self, end: End, wall_ms: int, *, requests: int, is_news: bool) -> None:
        """``is_news``: whether to log it, too."""
        self._life.ended(end, requests)
        if not is_news:
            return
        reason, used, limit = end.reason, end.used, end.limit
        level, msg = Level.INFO, None
        if limit is not None:
            level, msg = Level.ERROR, f"{end.words}. {reason.remedy(self._function)}"
        elif end.is_unasked:
            level, msg = Level.ERROR, end.words
        self._emit(
            "shutdown",
            level=level,
            reason=reason,
            used=limit.used if limit is not None else None,
            limit=limit.limit if limit is not None else None,
            msg=msg,
            cpu_ms=used.cpu_ms,
            memory_mb=used.memory_mb,
            wall_ms=wall_ms,
        )

    def _task(
        self,
        task: Task,
        outcome: TaskOutcome,
        ms: int,
        *,
        reason: EndReason | None = None,
        msg: str | None = None,
        stack: str | None = None,
    ) -> None:
        self._emit(
            "task",
            level=_TASK_LEVELS[outcome],
            request_id=task.record.request_id,
            task_id=task.record.id,
            name=task.record.name,
            outcome=outcome,
            ms=ms,
            reason=reason,
            msg=msg,
            stack=stack,
        )
