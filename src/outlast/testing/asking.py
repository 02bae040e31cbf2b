"""The requests that a test makes to the server."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from outlast.core.outcome import TaskOutcome
from outlast.core.records import TaskPage, TaskRecord
from outlast.ledger.ledger import MAX_LIMIT
from outlast.telemetry.feed import KEPT_EVENTS
from outlast.telemetry.pretty import Pretty
from outlast.testing.answers import Answer, LogLine
from outlast.testing.errors import Failure, NotSettled
from outlast.testing.server import Server
from outlast.testing.transport import Steps

__tracebackhide__ = True

ADMIN_TIMEOUT_S = 30.0
LONGEST_WAIT_S = 600.0
SHOWN_LINES = 20
SHOWN_TASKS = 10


@dataclass(frozen=True)
class Call:
    """One call of a function; `outlast.testing.Outlast.invoke` explains the fields."""

    function: str
    method: str | None
    path: str
    params: Mapping[str, Any] | None
    headers: Mapping[str, str | None] | None
    json: Any
    data: Any
    files: Any
    timeout: float | None


class Asking:
    """`outlast.testing.transport` carries the methods out. They raise `Failure` if the server does not answer."""

    def __init__(self, server: Server) -> None:
        self.server = server
        # The log and the ledger count in milliseconds.
        self._began = datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)

    def invoke(self, call: Call) -> Steps[httpx.Response]:
        request = self._request(call)
        try:
            return (yield request)
        except httpx.TimeoutException:
            raise Failure(f"{call.function} has not answered within {call.timeout:g} s") from None
        except httpx.TransportError as error:
            what = f"{call.function} gave no whole answer: {error or type(error).__name__}"
            raise Failure(f"{what}{self.server.what_became_of_it()}") from None

    def _request(self, call: Call) -> httpx.Request:
        headers = {name.lower(): value for name, value in (call.headers or {}).items()}
        if self.server.verifies(call.function):
            headers.setdefault("authorization", f"Bearer {self.server.anon_key}")
        # What httpx calls ``data`` is a form.
        data = "content" if isinstance(call.data, str | bytes) else "data"
        given = {"json": call.json, data: call.data, "files": call.files}
        body = {name: value for name, value in given.items() if value is not None}
        # httpx would send one of them, and silently drop the other.
        if len(body) > 1 and {*body} != {"data", "files"}:
            names = " and ".join("data" if name == "content" else name for name in body)
            raise Failure(f"one request has one body, not {names}; the fields of a form alone (data) go with files")
        path = f"/{call.path.removeprefix('/')}" if call.path else ""
        return httpx.Request(
            call.method or ("POST" if body else "GET"),
            f"{self.server.url}/{call.function}{path}",
            params=call.params,
            headers={name: value for name, value in headers.items() if value is not None},
            extensions={"timeout": httpx.Timeout(call.timeout).as_dict()},
            **body,
        )

    def background(self, answer: Answer, timeout: float) -> Steps[list[TaskRecord]]:
        """Raises `NotSettled`."""
        until = time.monotonic() + timeout
        yield from self._catch_up()
        while True:
            left_s = max(0.0, min(until - time.monotonic(), LONGEST_WAIT_S))
            # 404 if nothing is known of the request: then it has no tasks either.
            yield from self._ask(
                f"/v1/requests/{answer.request_id}", wait_ms=round(left_s * 1000), timeout_s=left_s, missing_ok=True
            )
            tasks = yield from self._tasks({"request": answer.request_id})
            still_open = [task for task in tasks if task.is_open]
            if not still_open:
                return tasks
            if time.monotonic() >= until:
                lines = yield from self._events({"request": answer.request_id, "event": "log", "limit": SHOWN_LINES})
                raise NotSettled(_not_settled(answer, still_open, lines, timeout))

    def tasks(
        self, function: str | None, outcome: str | None, name: str | None, request: Answer | str | None
    ) -> Steps[list[TaskRecord]]:
        yield from self._catch_up()
        asked: dict[str, Any] = {"function": function, "name": name, "request": _id(request)}
        if outcome == "open":
            asked["open"] = "true"
        elif outcome is not None and outcome not in list(TaskOutcome):
            raise Failure(f"no task can be {outcome!r}; it is {', '.join(TaskOutcome)} or open")
        else:
            asked["outcome"] = outcome
        return (yield from self._tasks({**asked, "since": self._began.isoformat()}))

    def _tasks(self, asked: Mapping[str, Any]) -> Steps[list[TaskRecord]]:
        found: list[TaskRecord] = []
        cursor: str | None = None
        while True:
            body = yield from self._ask("/v1/tasks", **asked, cursor=cursor, limit=MAX_LIMIT)
            page = msgspec.json.decode(body, type=TaskPage)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found[::-1]

    def logs(
        self, function: str | None, request: Answer | str | None, level: str | None, event: str | None
    ) -> Steps[list[LogLine]]:
        yield from self._catch_up()
        asked = {"function": function, "request": _id(request), "level": level, "event": event, "limit": KEPT_EVENTS}
        found = yield from self._events(asked)
        return [line for line in map(LogLine.of, found) if line.ts >= self._began]

    def report(self) -> Steps[str]:
        """What was printed and what went wrong during this test, to explain a failure."""
        yield from self._catch_up()
        found = yield from self._events({"limit": KEPT_EVENTS})
        return _shown(
            [
                event
                for event in found
                if (event["event"] == "log" or event["level"] in ("warning", "error"))
                and datetime.fromisoformat(event["ts"]) >= self._began
            ]
        )

    def _catch_up(self) -> Steps[bytes]:
        """Needed because a response can arrive before the server knows what the function has printed and started."""
        return self._ask("/v1/catch-up", method="POST")

    def _events(self, asked: Mapping[str, Any]) -> Steps[list[dict[str, Any]]]:
        body = yield from self._ask("/v1/events", **asked)
        items: list[dict[str, Any]] = msgspec.json.decode(body)["items"]
        return items

    def _ask(
        self, path: str, *, method: str = "GET", timeout_s: float = 0.0, missing_ok: bool = False, **asked: Any
    ) -> Steps[bytes]:
        request = httpx.Request(
            method,
            f"{self.server.admin_url}{path}",
            params={name: value for name, value in asked.items() if value is not None},
            headers=self.server.admin_headers,
            extensions={"timeout": httpx.Timeout(ADMIN_TIMEOUT_S + timeout_s).as_dict()},
        )
        try:
            response = yield request
        except httpx.TransportError as error:
            what = f"the server does not answer: {error or type(error).__name__}"
            raise Failure(f"{what}{self.server.what_became_of_it()}") from None
        if response.status_code != 200 and not (missing_ok and response.status_code == 404):
            raise Failure(response.json()["message"])
        return response.content


def _id(request: Answer | str | None) -> str | None:
    return request.request_id if isinstance(request, Answer) else request


def _not_settled(answer: Answer, tasks: list[TaskRecord], lines: list[dict[str, Any]], timeout: float) -> str:
    now = datetime.now(UTC)
    what = "a background task" if len(tasks) == 1 else f"{len(tasks)} background tasks"
    has = "has" if len(tasks) == 1 else "have"
    text = [f"{what} of {answer.function} {has} not settled within {timeout:g} s:"]
    text += [f"  {_name(task)}, open for {(now - task.started).total_seconds():.1f} s" for task in tasks[:SHOWN_TASKS]]
    if len(tasks) > SHOWN_TASKS:
        text.append(f"  and {len(tasks) - SHOWN_TASKS} more")
    printed = _shown(lines)
    text.append(f"what request {answer.request_id} has printed:" if printed else "the request has printed nothing")
    text += [f"  {line}" for line in printed.splitlines()]
    return "\n".join(text)


def _name(task: TaskRecord) -> str:
    return repr(task.name) if task.name is not None else f"a task without a name ({task.id})"


def _shown(events: list[dict[str, Any]]) -> str:
    pretty = Pretty(colour=False)
    return "".join(
        pretty.render(datetime.fromisoformat(event["ts"]).timestamp(), {k: v for k, v in event.items() if k != "ts"})
        for event in events
    )
