"""What happened around a task, as a timeline."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from rich.console import Console

from outlast.cli.columns import Columns, duration, moment, one_line
from outlast.core.outcome import EndReason
from outlast.telemetry.pretty import harmless


class _Entry(NamedTuple):
    at: datetime
    what: str
    text: str


def outcome(record: dict[str, Any]) -> str:
    """Of a task: ``interrupted (cpu)``."""
    if record["outcome"] is None:
        return "open"
    words = str(record["outcome"]).replace("_", " ")
    return f"{words} ({record['reason']})" if record["reason"] is not None else words


def tell(story: dict[str, Any], console: Console) -> None:
    """``story``: `outlast.admin.node.TaskStory`."""
    task, request = story["task"], story["request"]
    took = f" after {duration(task['ms'])}" if task["ms"] is not None else ""
    console.print(f"{one_line(task['name'] or 'a task without a name')}: {outcome(task)}{took}")
    for title, text in (
        ("task", task["id"]),
        ("function", f"{task['function']} ({task['language']})"),
        ("request", task["request_id"] or "none: the module's top level started it"),
        ("execution", task["execution_id"]),
        ("why", why(task)),
    ):
        if text:
            console.print(f"  {title:<10} {one_line(text)}")
    if task["error"]:
        console.print()
        console.print(harmless(task["error"].rstrip()))
    console.print()
    _timeline(_entries(story), request, console)


def _timeline(entries: list[_Entry], request: dict[str, Any] | None, console: Console) -> None:
    zero = moment(request["received"]) if request is not None else entries[0].at
    console.print(f"{zero:%Y-%m-%d %H:%M:%S}.{zero.microsecond // 1000:03d}", style="dim")
    columns = Columns("AFTER", "WHAT", "")
    columns.show([(_after(entry.at - zero), entry.what, entry.text) for entry in entries])


def _after(passed: timedelta) -> str:
    ms = passed.total_seconds() * 1000
    return f"-{duration(-ms)}" if ms < 0 else duration(ms)


def _entries(story: dict[str, Any]) -> list[_Entry]:
    """In the order of time; of what happened at one moment, in that of what brings about what."""
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
    for event in story["events"]:
        if event.get("task_id") not in known:
            text = event.get("msg") or event.get("reason") or ""
            what = event["level"] if event["event"] == "log" and event["level"] != "info" else event["event"]
            found.append(_Entry(moment(event["ts"]), what, text))
    return sorted(found, key=lambda entry: entry.at)


def why(task: dict[str, Any]) -> str:
    """What there is to say of a task that did not get to its end, and what to do about it."""
    if task["outcome"] is None:
        return "it has not settled yet"
    if task["outcome"] == "timed_out":
        return "it took longer than the timeout that it was started with"
    if task["reason"] is None:
        return ""
    reason = EndReason(task["reason"])
    if reason.limit_key is None:
        return reason.words
    key = f"[functions.{task['function']}.limits] {reason.limit_key}"
    return f"{reason.words}. To raise it: {key} in outlast.toml"
