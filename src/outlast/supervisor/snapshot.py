"""Functions and their workers as they are at one moment, for those who only look."""

import msgspec

from outlast.core.language import Language
from outlast.core.lifecycle import State
from outlast.core.policy import Policy


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is alive. Limits of 0 are switched off."""

    id: str
    """The execution id."""
    function: str
    language: Language
    state: State
    is_current: bool
    """Whether its code is what the files say now."""
    is_stuck: bool
    """Whether one piece of code has held its event loop up for a while, and still does."""
    pid: int | None
    age_ms: int
    """Since it was wanted; of one in standby since its process was started."""
    requests: int
    """That it has at the moment."""
    requests_begun: int
    """In its life, those included."""
    open_tasks: int
    cpu_ms: int
    """Used since it was ready, as the limit counts it."""
    cpu_limit_ms: int
    memory_mb: int
    memory_limit_mb: int
    wall_ms: int
    """As the limit counts it: of a `per_request` worker, since its request began."""
    wall_limit_ms: int


class FunctionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is served."""

    name: str
    language: Language
    entrypoint: str
    verify_jwt: bool
    policy: Policy
    requests: int
    """That its workers have at the moment."""
    waiting: int
    """Requests that no worker has yet."""
    open_tasks: int
    workers: list[WorkerSnapshot]
