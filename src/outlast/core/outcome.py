"""The closed lists of how requests, tasks and workers can end, used alike by logs, metrics, records and answers."""

from enum import Enum, StrEnum

SHUT_DOWN = "the server shut down before its answer was complete"
"""Why a request that was under way has no answer, or not the whole of it."""


class UnloadReason(StrEnum):
    """``detail.reason`` of `beforeunload`."""

    WALL_CLOCK = "wall_clock"
    CPU = "cpu"
    MEMORY = "memory"
    EARLY_DROP = "early_drop"
    TERMINATION = "termination"


class TaskOutcome(StrEnum):
    FULFILLED = "fulfilled"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class EndReason(StrEnum):
    """Why a worker ended, and therefore why its unfinished tasks were interrupted."""

    WALL_CLOCK = "wall_clock"
    CPU = "cpu"
    MEMORY = "memory"
    CRASH = "crash"
    EXIT = "exit"
    RELOAD = "reload"
    ONESHOT = "oneshot"
    TERMINATION = "termination"
    EARLY_DROP = "early_drop"
    BOOT_FAILURE = "boot_failure"
    PROTOCOL = "protocol"
    UNCAUGHT = "uncaught"
    NODE_LOST = "node_lost"
    """Never seen by the node itself: another node, or the next one of the same project, found it gone."""

    @property
    def unload_reason(self) -> UnloadReason:
        """What `beforeunload` says to a worker that retired for this reason and has nothing left to do."""
        return _UNLOAD_REASONS.get(self, UnloadReason.EARLY_DROP)

    @property
    def words(self) -> str:
        """The reason as a clause that follows "was cut off:"."""
        return _END_WORDS[self]

    def remedy(self, function: str) -> str:
        """What the owner of ``function`` can do so that no task is cut off for this reason again."""
        if self.limit_key is not None:
            return f"To raise it: {_in_limits(function, self.limit_key)}"
        return _REMEDIES[self].format(function=function, grace=_in_limits(function, "unload_grace_ms"))

    @property
    def limit_key(self) -> str | None:
        """The key in ``[functions.NAME.limits]`` of outlast.toml that raises the limit; None if there is none."""
        return _LIMIT_KEYS.get(self)

    @property
    def unit(self) -> str:
        """The unit of that limit."""
        return "MiB" if self is EndReason.MEMORY else "ms"


def _in_limits(function: str, key: str) -> str:
    return f"[functions.{function}.limits] {key} in outlast.toml"


_END_WORDS = {
    EndReason.WALL_CLOCK: "the worker reached its wall-clock limit",
    EndReason.CPU: "the worker reached its CPU limit",
    EndReason.MEMORY: "the worker reached its memory limit",
    EndReason.CRASH: "the worker's process crashed",
    EndReason.EXIT: "the function ended its own process",
    EndReason.RELOAD: "the function's code changed",
    EndReason.ONESHOT: 'policy "oneshot" ends a worker with its response',
    EndReason.TERMINATION: "the server shut down before it was done",
    EndReason.EARLY_DROP: "the worker had nothing left to do",
    EndReason.BOOT_FAILURE: "the function failed to boot",
    EndReason.PROTOCOL: "the worker broke the protocol of its control channel",
    EndReason.UNCAUGHT: "the function had an error that nothing caught",
    EndReason.NODE_LOST: "the server that it ran on was killed, or was cut off from the database for too long",
}

_LONGER_GRACE = "To give it longer: {grace}"
_REMEDIES = {
    EndReason.CRASH: "The last lines it printed may say why: outlast logs --function {function}",
    EndReason.EXIT: "Exiting ends every request and every task of the worker: return or throw instead",
    EndReason.RELOAD: _LONGER_GRACE,
    EndReason.ONESHOT: 'policy = "per_worker" lets tasks finish; oneshot_background = "wait" in outlast.toml does, too',
    EndReason.TERMINATION: "To give it longer: --graceful-exit-timeout (what beforeunload listeners begin: {grace})",
    EndReason.EARLY_DROP: _LONGER_GRACE,
    EndReason.BOOT_FAILURE: "The whole error: outlast logs --function {function} --level error",
    EndReason.PROTOCOL: "Code that closes file descriptors it did not open causes this",
    EndReason.UNCAUGHT: _LONGER_GRACE,
    EndReason.NODE_LOST: "Nothing runs it again by itself: start it anew if its work is still needed",
}

_LIMIT_KEYS = {
    EndReason.WALL_CLOCK: "wall_clock_ms",
    EndReason.CPU: "cpu_hard_ms",
    EndReason.MEMORY: "memory_mb",
}

_UNLOAD_REASONS = {
    EndReason.RELOAD: UnloadReason.TERMINATION,
    EndReason.TERMINATION: UnloadReason.TERMINATION,
}


class RequestEnd(Enum):
    """How a request can end without the function's own answer, or without all of it.

    Each member has the status, code and message of the answer that Outlast gives instead, and words for the log.
    """

    NOT_FOUND = (404, "NOT_FOUND", "Function not found", "no function has this name")
    OTHER_SERVICE = (
        404,
        "OTHER_SERVICE",
        "Outlast serves functions only: SUPABASE_URL must name the Supabase project whose services they use",
        "there are only functions here: for Supabase's other services, set SUPABASE_URL to a project that has them",
    )
    BOOT_ERROR = (
        503,
        "BOOT_ERROR",
        "Worker failed to boot (please check logs)",
        "the function failed to boot, or was not ready in time",
    )
    WORKER_BUSY = (503, "WORKER_BUSY", "No worker was free in time; please try again", "no worker was free in time")
    WORKER_ERROR = (
        500,
        "WORKER_ERROR",
        "Function exited due to an error (please check logs)",
        "the function broke off before its answer was complete",
    )
    WORKER_LIMIT = (
        546,
        "WORKER_LIMIT",
        "Worker failed to respond due to a resource limit (please check logs)",
        "a limit ended the worker before its answer was complete",
    )
    IDLE_TIMEOUT = (
        504,
        "IDLE_TIMEOUT",
        "The function sent no response in time",
        "the function was silent for limits.request_idle_ms",
    )
    BAD_RESPONSE = (
        502,
        "BAD_RESPONSE",
        "Function sent a malformed response (please check logs)",
        "the function's response is malformed",
    )

    def __init__(self, status: int, code: str, message: str, words: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.words = words
