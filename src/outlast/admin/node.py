"""What the admin API needs of the node that it speaks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from outlast.core.policy import OneshotBackground, Policy
from outlast.core.records import RequestRecord, TaskRecord
from outlast.ledger.ledger import Ledger, Status
from outlast.supervisor.fleet import Fleet
from outlast.telemetry.counts import Counts
from outlast.telemetry.logs import Label, Log

T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    fleet: Fleet
    ledger: Ledger
    log: Log
    counts: Counts
    reload: Callable[[], None]
    """Reads the settings again. Raises OutlastError where they are wrong; then the old ones stay."""
    settings: Callable[[], Mapping[str, object]]
    """What was given."""
    give: Callable[[Mapping[str, object]], None]
    """Settings that win over the files until the node ends. Raises OutlastError; then those from before stay."""
    url: str
    admin_url: str
    started: datetime
    anon_key: Callable[[], str]
    """What callers may show to functions that verify their callers; public by design."""


class NodeBody(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    pid: int
    started: datetime
    url: str
    """Where functions are called."""
    admin_url: str
    anon_key: str
    """For the `Authorization` of calls to functions that verify their callers; public by design."""
    log_level: Label
    log_lines_lost: int
    """Because its reader was too slow for them."""
    ledger: Status


class Items(msgspec.Struct, Generic[T], frozen=True):
    """All there are."""

    items: list[T]


class LevelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Label


class FunctionGiven(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    limits: dict[str, int] = {}
    scale: dict[str, int] = {}
    oneshot_background: OneshotBackground | None = None
    env: dict[str, str] = {}


class SettingsBody(FunctionGiven, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What wins over the project's files. Keys of `limits` and `scale` are those of outlast.toml."""

    policy: Policy | None = None
    functions: dict[str, FunctionGiven] = {}


class Drained(msgspec.Struct, frozen=True):
    workers: list[str]
    """Execution ids of those that end when they have done what they have."""


class CaughtUp(msgspec.Struct, frozen=True):
    silent: list[str]
    """Execution ids of the workers that did not answer: their event loops stand still."""


class Reloaded(msgspec.Struct, frozen=True):
    functions: list[str]
    """Those that get new workers."""


class TaskStory(msgspec.Struct, frozen=True, kw_only=True):
    """A task, and what happened around it."""

    task: TaskRecord
    request: RequestRecord | None
    """The one that started it; null for a task of the module's top level, and while the request goes on."""
    tasks: list[TaskRecord]
    """All tasks of that request, oldest first; where there was none, this one."""
    events: list[msgspec.Raw]
    """What the log says of them, and meanwhile of their worker, oldest first, as far as it is still kept."""


class RequestStory(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and what came of it."""

    id: str
    request: RequestRecord | None
    """null while it goes on."""
    tasks: list[TaskRecord]
    """Oldest first."""
    events: list[msgspec.Raw]
    """What the log says of it, oldest first, as far as it is still kept."""
