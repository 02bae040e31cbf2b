"""The query parameters of each endpoint, from which the OpenAPI document is made."""

import re
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, inspect
from starlette.datastructures import QueryParams

from outlast.admin.answers import Refusal
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import RequestQuery, TaskQuery, WorkerQuery
from outlast.ledger.ledger import DEFAULT_LIMIT, MAX_LIMIT
from outlast.telemetry.feed import KEPT_EVENTS, Wanted
from outlast.telemetry.logs import Label, Level

_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
MAX_WAIT_MS = 600_000
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Cursor = Annotated[UUID, Meta(description="`cursor` of the page before.")]
Limit = Annotated[int, Meta(description="Most records on a page.", ge=1, le=MAX_LIMIT)]
Since = Annotated[datetime, Meta(description="Started then or later.", tz=True)]
Until = Annotated[datetime, Meta(description="Started before.", tz=True)]
LevelName = Annotated[Label, Meta(description="This level or a higher one.")]
Names = Annotated[str, Meta(description="Kinds of events, with commas between them.", min_length=1, max_length=400)]


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of an endpoint that takes none."""


class AboutTasks(Question, frozen=True, kw_only=True):
    function: Text | None = None
    outcome: TaskOutcome | None = None
    reason: EndReason | None = None
    open: Annotated[bool, Meta(description="true: those that have not settled. false: those that have.")] | None = None
    name: Text | None = None
    request: Annotated[Text, Meta(description="Id of a request.")] | None = None
    since: Since | None = None
    until: Until | None = None

    def query(self) -> TaskQuery:
        return TaskQuery(
            function=self.function,
            outcome=self.outcome,
            reason=self.reason,
            is_open=self.open,
            name=self.name,
            request_id=self.request,
            since=self.since,
            until=self.until,
        )


class TaskPages(AboutTasks, frozen=True, kw_only=True):
    cursor: Cursor | None = None
    limit: Limit = DEFAULT_LIMIT


class RequestPages(Question, frozen=True, kw_only=True):
    function: Text | None = None
    status: Annotated[int, Meta(ge=0, le=999)] | None = None
    since: Since | None = None
    until: Until | None = None
    cursor: Cursor | None = None
    limit: Limit = DEFAULT_LIMIT

    def query(self) -> RequestQuery:
        return RequestQuery(function=self.function, status=self.status, since=self.since, until=self.until)


class AboutRequest(Question, frozen=True, kw_only=True):
    wait_ms: Annotated[
        int, Meta(description="Until none of its tasks is open, not longer than this.", ge=0, le=MAX_WAIT_MS)
    ] = 0


class CatchUp(Question, frozen=True, kw_only=True):
    wait_ms: Annotated[int, Meta(description="Not longer than this.", ge=0, le=MAX_WAIT_MS)] = 1000


class ExecutionPages(Question, frozen=True, kw_only=True):
    function: Text | None = None
    open: Annotated[bool, Meta(description="true: those alive. false: those that have ended.")] | None = None
    since: Since | None = None
    until: Until | None = None
    cursor: Cursor | None = None
    limit: Limit = DEFAULT_LIMIT

    def query(self) -> WorkerQuery:
        return WorkerQuery(function=self.function, is_open=self.open, since=self.since, until=self.until)


class Workers(Question, frozen=True, kw_only=True):
    function: Text | None = None


class Events(Question, frozen=True, kw_only=True):
    function: Text | None = None
    request: Annotated[Text, Meta(description="Id of a request.")] | None = None
    execution: Annotated[Text, Meta(description="Id of a worker's life.")] | None = None
    level: LevelName | None = None
    event: Names | None = None

    def wanted(self) -> Wanted:
        return Wanted(
            function=self.function,
            request_id=self.request,
            execution_id=self.execution,
            level=Level.named(self.level) if self.level is not None else 0,
            names=frozenset(self.event.split(",")) if self.event is not None else frozenset(),
        )


class RecentEvents(Events, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(description="Most events, the latest of them.", ge=1, le=KEPT_EVENTS)] = DEFAULT_LIMIT


class LiveEvents(Events, frozen=True, kw_only=True):
    recent: Annotated[int, Meta(description="Begin with so many that have happened.", ge=0, le=KEPT_EVENTS)] = 0


Q = TypeVar("Q", bound=Question)


def read(params: QueryParams, kind: type[Q]) -> Q:
    """Reads the parameters. Raises `Refusal` for invalid ones."""
    given: dict[str, object] = {}
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name, text in params.multi_items():
        if name in given:
            raise Refusal(400, "BAD_QUERY", f"{name} is given more than once")
        given[name] = _value(text, types.get(name))
    try:
        return msgspec.convert(given, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise Refusal(400, "BAD_QUERY", str(error)) from error


def _value(text: str, kind: object) -> object:
    """The text, or its value as a number or boolean. (msgspec's lax mode would accept more than is documented.)"""
    info = inspect.type_info(kind)
    found = info.types if isinstance(info, inspect.UnionType) else (info,)
    options = {type(option.type if isinstance(option, inspect.Metadata) else option) for option in found}
    if inspect.BoolType in options:
        return {"true": True, "false": False}.get(text, text)
    if inspect.IntType in options and _NUMBER.fullmatch(text):
        return int(text)
    return text
