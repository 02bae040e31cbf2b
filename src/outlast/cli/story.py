"""Shows why a task ended the way it did, and what happened around it, as a timeline."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from outlast.cli.columns import STYLES, Columns
from outlast.cli.lines import duration, moment, one_line
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.stacks import gist
from outlast.telemetry.pretty import harmless, sentence

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST_TEXT_LINES = 20
"""The longest text shown of what a function printed at once; `outlast logs` has the rest."""


class Why(NamedTuple):
    """Why a task did not finish, and what its owner can do about it; either may be empty."""

    reason: str
    remedy: str


class _Entry(NamedTuple):
    at: datetime
    what: str
    text: str


def outcome(record: dict[str, Any]) -> str:
    """A task's outcome in words, such as ``interrupted (cpu)``."""
    if record["outcome"] is None:
        return "open"
    words = str(record["outcome"]).replace("_", " ")
    return f"{words} ({record['reason']})" if record["reason"] is not None else words


def why(task: dict[str, Any]) -> Why:
    options = "waitUntil(work, { timeout })" if task["language"] == "typescript" else "wait_until(work, timeout=...)"
    error = gist(task["error"] or "")
    match task["outcome"]:
        case None:
            return Why("it has not settled yet", "To see how much of its limits its worker has used: outlast ps")
        case TaskOutcome.FULFILLED:
            return Why("", "")
        case TaskOutcome.REJECTED:
            return Why(f"its code threw {error}" if error else "its code threw", "")
        case TaskOutcome.TIMED_OUT:
            return Why(error or "it took longer than its timeout", f"To give it longer, or no timeout: {options}")
        case _:
            reason = EndReason(task["reason"])
            return Why(error or reason.words, reason.remedy(task["function"]))


def tell(story: dict[str, Any], console: "Console") -> None:
    """``story``: `outlast.admin.node.TaskStory`."""
    task, request = story["task"], story["request"]
    ended, cause = outcome(task), why(task)
    console.print(one_line(task["name"] or "a task without a name"), end=": ", style="bold")
    console.print(ended, end=" ", style=STYLES.get(ended.partition(" (")[0]))
    console.print(_how_long(task))
    for title, text in (
        ("why", cause.reason),
        ("", cause.remedy),
        ("task", task["id"]),
        ("function", f"{task['function']} ({task['language']})"),
        ("request", task["request_id"] or "none: the module's top level or a listener started it"),
        ("execution", task["execution_id"]),
    ):
        if text:
            console.print(f"  {title:<10} {one_line(text)}")
    if task["outcome"] == TaskOutcome.REJECTED and task["error"]:
        console.print()
        console.print(harmless(task["error"].rstrip()))
    console.print()
    _timeline(_entries(story), request, console)


def _how_long(task: dict[str, Any]) -> str:
    if task["ms"] is None:
        return f"for {duration((datetime.now(UTC) - moment(task['started'])).total_seconds() * 1000)}"
    # The time of a lost node's last sign of life.
    more = " or more" if task["reason"] == EndReason.NODE_LOST else ""
    return f"after {duration(task['ms'])}{more}"


def _timeline(entries: list[_Entry], request: dict[str, Any] | None, console: "Console") -> None:
    zero = moment(request["received"]) if request is not None else entries[0].at
    console.print(f"{zero:%Y-%m-%d %H:%M:%S}.{zero.microsecond // 1000:03d}", style="dim")
    columns = Columns("AFTER", "WHAT", "")
    columns.show([row for entry in entries for row in _rows(entry, zero)])


def _rows(entry: _Entry, zero: datetime) -> Iterator[tuple[str, str, str]]:
    """A row for the entry, and one for each further line of its text."""
    first, *others = entry.text.rstrip().split("\n")
    yield _after(entry.at - zero), entry.what, first
    for line in others[:_LONGEST_TEXT_LINES]:
        yield "", "", line
    if len(others) > _LONGEST_TEXT_LINES:
        yield "", "", f"... {len(others) - _LONGEST_TEXT_LINES} more lines"


def _after(passed: timedelta) -> str:
    ms = passed.total_seconds() * 1000
    return f"-{duration(-ms)}" if ms < 0 else duration(ms)


def _entries(story: dict[str, Any]) -> list[_Entry]:
    """Sorted by time; entries with the same time in the order of cause and effect."""
    found: list[_Entry] = []
    request = story["request"]
    if request is not None:
        received = moment(request["received"])
        found.append(_Entry(received, "received", f"{request['method']} {request['path']}"))
        status = str(request["status"]) if request["status"] else "the client left before there was an answer"
        if request["first_byte_ms"] is not None:
            found.append(_Entry(received + timedelta(milliseconds=request["first_byte_ms"]), "first byte", status))
        ended = received + timedelta(milliseconds=request["ms"])
        found.append(_Entry(ended, "response end", request["error"] or ""))
    known = {task["id"] for task in story["tasks"]}
    for task in story["tasks"]:
        name = task["name"] or task["id"]
        found.append(_Entry(moment(task["started"]), "task started", name))
        if task["settled"] is not None:
            found.append(_Entry(moment(task["settled"]), "task settled", f"{name}: {outcome(task)}"))
    found += [_told(event) for event in story["events"] if event.get("task_id") not in known]
    return sorted(found, key=lambda entry: entry.at)


def _told(event: dict[str, Any]) -> _Entry:
    at, kind, message = moment(event["ts"]), event["event"], event.get("msg") or ""
    match kind:
        case "log":
            return _Entry(at, event["level"] if event["level"] != "info" else "log", message)
        case "uncaught":
            # The stack is shown with the task, or else by `outlast logs`.
            return _Entry(at, kind, gist(message))
        case "boot" | "boot_failure" | "retire" | "beforeunload" | "shutdown":
            return _Entry(at, "worker", sentence(kind, dict(event)))
        case _:
            return _Entry(at, kind, gist(message or event.get("reason") or ""))
