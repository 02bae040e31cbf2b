"""The bodies of requests and responses, besides those that are records, snapshots or errors."""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from outlast.core.policy import OneshotBackground, Policy
from outlast.core.records import RequestRecord, TaskRecord
from outlast.ledger.ledger import Status
from outlast.telemetry.logs import Label

T = TypeVar("T")


class NodeBody(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    pid: int
    started: datetime
    url: str
    """The URL of the functions."""
    admin_url: str
    anon_key: str
    """The key for the `Authorization` of calls to functions that check tokens; public by design."""
    log_level: Label
    log_lines_lost: int
    """How many were lost because the log's reader was too slow."""
    ledger: Status


class Items(msgspec.Struct, Generic[T], frozen=True):
    """A list, complete."""

    items: list[T]


class LevelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Label


class FunctionGiven(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    limits: dict[str, int] = {}
    scale: dict[str, int] = {}
    log: dict[str, int] = {}
    oneshot_background: OneshotBackground | None = None
    env: dict[str, str] = {}


class SettingsBody(FunctionGiven, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Settings that override the project's files. The keys of `limits`, `scale` and `log` are those of outlast.toml."""

    policy: Policy | None = None
    functions: dict[str, FunctionGiven] = {}


class Drained(msgspec.Struct, frozen=True):
    workers: list[str]
    """Execution ids of the workers that finish what they have and end."""


class CaughtUp(msgspec.Struct, frozen=True):
    silent: list[str]
    """Execution ids of the workers that did not answer: their event loops are blocked."""


class Reloaded(msgspec.Struct, frozen=True):
    functions: list[str]
    """The functions that get new workers."""


class TaskStory(msgspec.Struct, frozen=True, kw_only=True):
    """A task, and what happened around it."""

    task: TaskRecord
    request: RequestRecord | None
    """The request that started it; null for a task of the module's top level, and while the request is running."""
    tasks: list[TaskRecord]
    """All tasks of that request, oldest first; without a request, just this one."""
    events: list[msgspec.Raw]
    """What the log says about them, and about their worker meanwhile, oldest first, as far as it is still kept."""


class RequestStory(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and what happened around it."""

    id: str
    request: RequestRecord | None
    """null while it is running."""
    tasks: list[TaskRecord]
    """Oldest first."""
    events: list[msgspec.Raw]
    """What the log says about it, oldest first, as far as it is still kept."""
