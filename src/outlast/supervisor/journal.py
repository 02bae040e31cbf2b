"""What the log says of one worker's life."""

import functools

import msgspec

from outlast.core.outcome import EndReason, TaskOutcome, UnloadReason
from outlast.supervisor.ending import End, limit_words
from outlast.supervisor.tasks import Task
from outlast.telemetry.logs import Level, Log

_TASK_LEVELS = {
    TaskOutcome.FULFILLED: Level.INFO,
    TaskOutcome.REJECTED: Level.ERROR,
    TaskOutcome.TIMED_OUT: Level.WARNING,
    TaskOutcome.INTERRUPTED: Level.WARNING,
}
_UNASKED = frozenset([EndReason.CRASH, EndReason.EXIT, EndReason.PROTOCOL])


class _Fulfilled(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A task that went well, as nearly all do: its event is made at the least cost."""

    function: str
    execution_id: str
    request_id: str = ""
    task_id: str
    name: str = ""
    outcome: TaskOutcome
    ms: int


class Journal:
    """One method for each thing that can happen. Request ids may be empty: then it happened outside of requests."""

    def __init__(self, log: Log, function: str, execution_id: str) -> None:
        self._log = log
        self._function = function
        self._execution_id = execution_id
        self._emit = functools.partial(log.emit, function=function, execution_id=execution_id)

    def booted(self, ms: int) -> None:
        self._emit("boot", ms=ms)

    def boot_failed(self, error: str, ms: int) -> None:
        self._emit("boot_failure", level=Level.ERROR, msg=error, ms=ms)

    def retired(self, reason: EndReason) -> None:
        self._emit("retire", reason=reason)

    def warned(self, reason: UnloadReason) -> None:
        self._emit("beforeunload", reason=reason)

    def printed(self, level: Level, text: str, request_id: str = "") -> None:
        self._emit("log", level=level, msg=text, request_id=request_id or None)

    def uncaught(self, error: str, request_id: str = "") -> None:
        self._emit("uncaught", level=Level.ERROR, msg=error, request_id=request_id or None)

    def task_settled(self, task: Task, outcome: TaskOutcome, error: str, ms: int) -> None:
        if outcome is not TaskOutcome.FULFILLED:
            self._task(task, outcome, ms, stack=error or None)
            return
        self._log.emit_struct(
            "task",
            _Fulfilled(
                function=self._function,
                execution_id=self._execution_id,
                request_id=task.request_id,
                task_id=self._task_id(task),
                name=task.name,
                outcome=outcome,
                ms=ms,
            ),
        )

    def task_cut_off(self, task: Task, reason: EndReason, ms: int) -> None:
        self._task(task, TaskOutcome.INTERRUPTED, ms, reason=reason, msg=reason.words)

    def ended(self, end: End, wall_ms: int) -> None:
        reason, used, limit = end.reason, end.used, end.limit
        level, msg = Level.INFO, None
        if limit is not None:
            level = Level.ERROR
            key = f"[functions.{self._function}.limits] {reason.limit_key}"
            msg = f"{limit_words(reason, limit)}. To raise it: {key} in outlast.toml"
        elif reason in _UNASKED:
            level, msg = Level.ERROR, f"{reason.words} ({used.words})"
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
            request_id=task.request_id or None,
            task_id=self._task_id(task),
            name=task.name or None,
            outcome=outcome,
            ms=ms,
            reason=reason,
            msg=msg,
            stack=stack,
        )

    def _task_id(self, task: Task) -> str:
        return f"{self._execution_id}.{task.number}"
