"""The endpoints of the admin API; `outlast.admin.openapi` describes them in the same order."""

import math
import os
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from difflib import get_close_matches
from importlib.metadata import version
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outlast.admin import questions
from outlast.admin.answers import Refusal, json
from outlast.admin.bodies import (
    CaughtUp,
    Drained,
    Items,
    LevelBody,
    NodeBody,
    Reloaded,
    RequestStory,
    SettingsBody,
    TaskStory,
)
from outlast.admin.metrics import exposition
from outlast.admin.node import Node
from outlast.core.errors import OutlastError
from outlast.core.records import TaskQuery, TaskRecord
from outlast.ledger.ledger import MAX_LIMIT, TooMany
from outlast.supervisor.snapshot import FunctionSnapshot, WorkerSnapshot
from outlast.telemetry.feed import KEPT_EVENTS, Event, Wanted, as_json, field
from outlast.telemetry.logs import Level

T = TypeVar("T")
MAX_BODY_BYTES = 64 * 1024
TASK_EVENTS = frozenset({"task"})
TOP_LEVEL_EVENTS = 200
"""So many events around a task that belongs to no request."""
WORKER_EVENTS = 50
"""So many events around any task that belong to its worker, but to no request."""
NAMED_FUNCTIONS = 10
"""So many are named to whoever asked for one that is not served."""
CATCH_UP_WITHIN_S = 0.1
"""A worker that does not answer within this time is busy with something else."""
AFTERMATH = timedelta(seconds=1)
"""A worker's end is told just after that of its tasks."""


class Endpoints:
    """One method for each."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node(self, request: Request, _: questions.Question) -> Response:
        node = self._node
        return json(
            NodeBody(
                version=version("outlast"),
                pid=os.getpid(),
                started=node.started,
                url=node.url,
                admin_url=node.admin_url,
                anon_key=node.anon_key(),
                log_level=node.log.level.label,
                log_lines_lost=node.counts.log_lines_lost,
                ledger=node.ledger.status,
            )
        )

    # What is there now.

    async def functions(self, request: Request, _: questions.Question) -> Response:
        return json(Items[FunctionSnapshot](self._node.fleet.snapshot()))

    async def function(self, request: Request, _: questions.Question) -> Response:
        return json(self._function(request.path_params["name"]))

    async def workers(self, request: Request, question: questions.Workers) -> Response:
        functions = [each for each in self._node.fleet.snapshot() if question.function in (None, each.name)]
        return json(Items[WorkerSnapshot]([worker for function in functions for worker in function.workers]))

    def _function(self, name: str) -> FunctionSnapshot:
        for function in self._node.fleet.snapshot():
            if function.name == name:
                return function
        raise self._not_served(name)

    def _not_served(self, name: str) -> Refusal:
        served = [*self._node.fleet.services]
        nearest = get_close_matches(name, served, len(served) or 1, cutoff=0)
        text = f"no function {name!r} is served"
        if get_close_matches(name, nearest[:1]):
            text += f" (did you mean {nearest[0]}?)"
        if not nearest:
            text += ", nor is any other"
        else:
            rest = len(nearest) - NAMED_FUNCTIONS
            text += f"; there are {', '.join(nearest[:NAMED_FUNCTIONS])}" + (f" and {rest} more" if rest > 0 else "")
        return Refusal(404, "NOT_FOUND", text)

    # What was.

    async def tasks(self, request: Request, question: questions.TaskPages) -> Response:
        return json(await self._node.ledger.tasks(question.query(), _text(question.cursor), question.limit))

    async def task_counts(self, request: Request, question: questions.AboutTasks) -> Response:
        try:
            return json(Items(await self._node.ledger.counts(question.query())))
        except TooMany as error:
            raise Refusal(503, "TOO_MANY", str(error)) from error

    async def task(self, request: Request, _: questions.Question) -> Response:
        ledger = self._node.ledger
        task = await ledger.task(_id(request))
        if task is None:
            raise self._not_on_record("task")
        if task.request_id is not None:
            wanted = Wanted(function=task.function, request_id=task.request_id)
            found = [*self._node.log.feed.recent(wanted, KEPT_EVENTS), *self._of_its_worker(task)]
            found.sort(key=attrgetter("number"))
            tasks = await self._tasks_of(TaskQuery(request_id=task.request_id))
        else:
            wanted = Wanted(function=task.function, execution_id=task.execution_id)
            found = self._node.log.feed.recent(wanted, TOP_LEVEL_EVENTS)
            tasks = [task]
        return json(
            TaskStory(
                task=task,
                request=await ledger.request(task.request_id) if task.request_id is not None else None,
                tasks=tasks,
                events=_raw(found),
            )
        )

    def _of_its_worker(self, task: TaskRecord) -> list[Event]:
        """What happened to the worker while it had the task, and what it said that belongs to no request."""
        wanted = Wanted(function=task.function, execution_id=task.execution_id)
        since = task.started.timestamp()
        until = (task.settled + AFTERMATH).timestamp() if task.settled is not None else math.inf
        return [
            event
            for event in self._node.log.feed.recent(wanted, KEPT_EVENTS)
            if since <= event.at <= until
            and field(event.fields, "request_id") is None
            # It was before the task, perhaps in the same millisecond.
            and event.name != "boot"
        ][-WORKER_EVENTS:]

    async def requests(self, request: Request, question: questions.RequestPages) -> Response:
        return json(await self._node.ledger.requests(question.query(), _text(question.cursor), question.limit))

    async def request(self, request: Request, question: questions.AboutRequest) -> Response:
        id_ = _id(request)
        await self._settled(id_, question.wait_ms / 1000)
        record = await self._node.ledger.request(id_)
        tasks = await self._tasks_of(TaskQuery(request_id=id_))
        events = self._node.log.feed.recent(Wanted(request_id=id_), KEPT_EVENTS)
        if record is None and not tasks and not events:
            raise self._not_on_record("request")
        return json(RequestStory(id=id_, request=record, tasks=tasks, events=_raw(events)))

    async def executions(self, request: Request, question: questions.ExecutionPages) -> Response:
        return json(await self._node.ledger.workers(question.query(), _text(question.cursor), question.limit))

    def _not_on_record(self, what: str) -> Refusal:
        text, error = f"there is no record of such a {what}", self._node.ledger.status.error
        if error is not None:
            text += f", as far as this server remembers: all is not well with the ledger's database: {error}"
        return Refusal(404, "NOT_FOUND", text)

    async def _tasks_of(self, query: TaskQuery) -> list[TaskRecord]:
        page = await self._node.ledger.tasks(query, None, MAX_LIMIT)
        return page.items[::-1]

    async def _settled(self, request_id: str, wait_s: float) -> None:
        """Until none of its tasks is open, not longer than ``wait_s``."""
        if wait_s:
            # Its response may have overtaken the news of them.
            await self._node.fleet.catch_up(CATCH_UP_WITHIN_S)
        until = time.monotonic() + wait_s
        with closing(self._node.log.feed.listen(Wanted(request_id=request_id, names=TASK_EVENTS))) as listener:
            while (left_s := until - time.monotonic()) > 0 and await self._has_open_tasks(request_id):
                if await listener.take(left_s) is None:
                    return

    async def _has_open_tasks(self, request_id: str) -> bool:
        page = await self._node.ledger.tasks(TaskQuery(request_id=request_id, is_open=True), None, 1)
        return len(page.items) > 0

    # What is to be done.

    async def reload(self, request: Request, _: questions.Question) -> Response:
        try:
            self._node.reload()
        except OutlastError as error:
            raise Refusal(409, "BAD_CONFIGURATION", f"{error}; going on with what was valid before") from error
        pools = self._node.fleet.services
        for pool in pools.values():
            pool.renew()
        return json(Reloaded([*pools]), 202)

    async def catch_up(self, request: Request, question: questions.CatchUp) -> Response:
        return json(CaughtUp(await self._node.fleet.catch_up(question.wait_ms / 1000)))

    async def settings(self, request: Request, _: questions.Question) -> Response:
        return json({**self._node.settings()})

    async def give_settings(self, request: Request, _: questions.Question) -> Response:
        given = msgspec.to_builtins(await _body(request, SettingsBody))
        try:
            self._node.give(given)
        except OutlastError as error:
            raise Refusal(409, "BAD_CONFIGURATION", str(error)) from error
        return json(given)

    async def reload_function(self, request: Request, _: questions.Question) -> Response:
        name = self._served(request)
        self._node.fleet.services[name].renew()
        return json(Reloaded([name]), 202)

    async def drain_function(self, request: Request, _: questions.Question) -> Response:
        found = self._node.fleet.services[self._served(request)].drain()
        return json(Drained([id_ for id_, drains in found.items() if drains]), 202)

    async def drain_worker(self, request: Request, _: questions.Question) -> Response:
        id_ = request.path_params["id"]
        drains = self._node.fleet.drain(id_)
        if drains is None:
            raise Refusal(404, "NOT_FOUND", "there is no such worker, or not any more")
        if not drains:
            raise Refusal(409, "STILL_STARTING", "it comes up for requests that wait; drain it when it is ready")
        return json(Drained([id_]), 202)

    def _served(self, request: Request) -> str:
        name: str = request.path_params["name"]
        if name not in self._node.fleet.services:
            raise self._not_served(name)
        return name

    async def metrics(self, request: Request, _: questions.Question) -> Response:
        text, content_type = exposition(self._node, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    # The log.

    async def events(self, request: Request, question: questions.RecentEvents) -> Response:
        found = self._node.log.feed.recent(question.wanted(), question.limit)
        return json(Items(_raw(found)))

    async def log_level(self, request: Request, _: questions.Question) -> Response:
        return json(LevelBody(self._node.log.level.label))

    async def set_log_level(self, request: Request, _: questions.Question) -> Response:
        wanted = await _body(request, LevelBody)
        self._node.log.level = Level.named(wanted.level)
        return json(wanted)


def _id(request: Request) -> str:
    try:
        return str(UUID(request.path_params["id"]))
    except ValueError:
        text = f"{request.path_params['id']!r} is no id: those are UUIDs"
        raise Refusal(404, "NOT_FOUND", text) from None


async def _body(request: Request, kind: type[T]) -> T:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, "TOO_LARGE", f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "BAD_BODY", str(error)) from error


def _text(cursor: UUID | None) -> str | None:
    return str(cursor) if cursor is not None else None


def _raw(events: Iterable[Event]) -> list[msgspec.Raw]:
    return [msgspec.Raw(text.encode()) for text in as_json(events)]
