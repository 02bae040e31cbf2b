"""The limits of one worker."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """``[limits]`` of outlast.toml, for all functions or for one; 0 switches a limit off."""

    request_idle_ms: int = 150_000
    """Longest silence of a function towards its client, response head or body."""
    unload_grace_ms: int = 2_000
    """Time for ``waitUntil`` work that a ``beforeunload`` listener begins."""
    boot_timeout_ms: int = 30_000
    """Longest time from a worker's start until it can take a request."""
