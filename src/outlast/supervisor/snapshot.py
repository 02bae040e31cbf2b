"""Snapshots of functions and their workers, for the admin API and metrics."""

import msgspec

from outlast.core.language import Language
from outlast.core.lifecycle import State
from outlast.core.policy import Policy


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is alive. A limit of 0 is switched off."""

    id: str
    """The execution id."""
    function: str
    language: Language
    state: State
    is_current: bool
    """Whether it runs the code that the files hold now."""
    is_stuck: bool
    """Whether its event loop has been blocked for a while, and still is."""
    pid: int | None
    age_ms: int
    """Since it was wanted; for a standby, since its process was started."""
    requests: int
    """How many it has now."""
    requests_begun: int
    """How many it has had in its life, including those."""
    open_tasks: int
    cpu_ms: int
    """Used since it was ready, as the limit counts."""
    cpu_limit_ms: int
    memory_mb: int
    memory_limit_mb: int
    wall_ms: int
    """As the limit counts: for a `per_request` worker, since its request began."""
    wall_limit_ms: int


class FunctionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is served."""

    name: str
    language: Language
    entrypoint: str
    verify_jwt: bool
    policy: Policy
    requests: int
    """How many its workers have now."""
    waiting: int
    """Requests that wait for a worker."""
    open_tasks: int
    workers: list[WorkerSnapshot]

    def with_workers_of(self, earlier: "FunctionSnapshot") -> "FunctionSnapshot":
        """With those that are left from before its policy changed, or from before it was removed for a while."""
        return msgspec.structs.replace(
            self,
            requests=self.requests + earlier.requests,
            waiting=self.waiting + earlier.waiting,
            open_tasks=self.open_tasks + earlier.open_tasks,
            workers=self.workers + earlier.workers,
        )
