"""How a function's requests are spread over the lives of its workers."""

from enum import StrEnum


class Policy(StrEnum):
    """``[edge_runtime] policy`` of config.toml."""

    PER_WORKER = "per_worker"
    """One worker serves many requests at once."""
    PER_REQUEST = "per_request"
    """One worker serves one request after the other."""
    ONESHOT = "oneshot"
    """Every request gets a fresh worker, which ends with its response."""


class OneshotBackground(StrEnum):
    """``oneshot_background`` of outlast.toml: what happens to tasks that are still open when the response ends."""

    CUT = "cut"
    WAIT = "wait"
