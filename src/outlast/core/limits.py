"""The limits of one worker, and what follows from how much of them it has used."""

import math
from dataclasses import dataclass
from enum import IntEnum

from outlast.core.outcome import UnloadReason

WARN_AT = 0.9
"""Share of a limit at which `beforeunload` is dispatched."""
ALERT_AT = 0.5
"""Share of the memory limit from which a worker ends as soon as it has nothing to do."""
RETIRE_AT = 0.5
"""Share of the wall clock after which a worker gets no new requests."""


@dataclass(frozen=True)
class Limits:
    """``[limits]`` of outlast.toml, for all functions or for one; 0 switches a limit off."""

    wall_clock_ms: int = 400_000
    """Longest life of a worker, counted from when it is ready; for `per_request`, longest life of a request."""
    cpu_soft_ms: int = 1_000
    """CPU time, since it was ready, after which a worker gets no new requests."""
    cpu_hard_ms: int = 2_000
    """CPU time, since it was ready, at which a worker is killed."""
    memory_mb: int = 256
    """Resident memory of a worker and its children, in MiB."""
    request_idle_ms: int = 150_000
    """Longest silence of a function towards its client, response head or body."""
    idle_timeout_ms: int = 0
    """A worker that has had no request for this long is ended."""
    unload_grace_ms: int = 2_000
    """Time for the work that a ``beforeunload`` listener passes to ``waitUntil``."""
    boot_timeout_ms: int = 30_000
    """Longest time from a worker's start until it is ready."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a worker has used since it was ready."""

    wall_ms: float = 0
    cpu_ms: float = 0
    memory_mb: float = 0
    memory_at_ready_mb: float = 0
    idle_ms: float = 0
    """Since it last had a request, or since it was ready."""


class Step(IntEnum):
    """What to do with a worker; the higher, the more drastic."""

    FINE = 0
    ALERT = 1
    """End it once it has nothing to do."""
    RETIRE = 2
    """Give it no new requests, and end it once it has nothing to do."""
    WARN = 3
    """Dispatch `beforeunload` with the reason, in addition to all of the above."""
    KILL = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    step: Step
    reason: UnloadReason = UnloadReason.EARLY_DROP
    used: int = 0
    """Of the resource that ``reason`` names, in milliseconds or MiB; so is ``limit``."""
    limit: int = 0


def judge(usage: Usage, limits: Limits) -> list[Verdict]:
    """One verdict for each limit that is near, and so none that is `Step.FINE`."""
    found = [
        _of_wall_clock(usage.wall_ms, limits.wall_clock_ms),
        _of_cpu(usage.cpu_ms, limits.cpu_soft_ms, limits.cpu_hard_ms),
        _of_memory(usage.memory_mb, usage.memory_at_ready_mb, limits.memory_mb),
    ]
    if 0 < limits.idle_timeout_ms <= usage.idle_ms:
        found.append(Verdict(Step.ALERT, UnloadReason.EARLY_DROP, round(usage.idle_ms), limits.idle_timeout_ms))
    return [verdict for verdict in found if verdict.step is not Step.FINE]


def _of_wall_clock(used: float, limit: int) -> Verdict:
    step = _step(used, limit)
    if step is Step.FINE and 0 < limit * RETIRE_AT <= used:
        step = Step.RETIRE
    return Verdict(step, UnloadReason.WALL_CLOCK, round(used), limit)


def _of_cpu(used: float, soft: int, hard: int) -> Verdict:
    step = _step(used, hard)
    if step is Step.FINE and 0 < soft <= used:
        return Verdict(Step.RETIRE, UnloadReason.CPU, round(used), soft)
    return Verdict(step, UnloadReason.CPU, round(used), hard)


def _of_memory(used: float, at_ready: float, limit: int) -> Verdict:
    step = _step(used, limit)
    # A function that needs so much to begin with gains nothing from a new worker.
    if step is Step.FINE and at_ready < limit * ALERT_AT <= used:
        step = Step.ALERT
    return Verdict(step, UnloadReason.MEMORY, round(used), limit)


def _step(used: float, limit: int) -> Step:
    if not limit or used < limit * WARN_AT:
        return Step.FINE
    return Step.WARN if used < limit else Step.KILL


MOST_CPUS_AT_ONCE = 2
"""How much faster than the wall clock a worker's CPU clock is assumed to run: its own thread, and one beside it that
collects garbage or compiles."""


def next_look_ms(usage: Usage, limits: Limits, growth: float = 0.0) -> float:
    """How long the worker need not be looked at: it cannot reach any threshold before that.

    Args:
        growth: of its memory, in MiB per millisecond; it may double in the meantime.
    """
    cpu = (limits.cpu_soft_ms, limits.cpu_hard_ms * WARN_AT, limits.cpu_hard_ms)
    ahead = [(at - usage.cpu_ms) / MOST_CPUS_AT_ONCE for at in cpu if at > usage.cpu_ms]
    if growth > 0:
        memory = (limits.memory_mb * WARN_AT, limits.memory_mb)
        ahead += [(at - usage.memory_mb) / (2 * growth) for at in memory if at > usage.memory_mb]
    return min(*ahead, math.inf, next_look_at_rest_ms(usage, limits))


def next_look_at_rest_ms(usage: Usage, limits: Limits) -> float:
    """The same for a worker whose CPU clock is not running."""
    wall = (limits.wall_clock_ms * RETIRE_AT, limits.wall_clock_ms * WARN_AT, limits.wall_clock_ms)
    ahead = [at - usage.wall_ms for at in wall if at > usage.wall_ms]
    if limits.idle_timeout_ms > usage.idle_ms:
        ahead.append(limits.idle_timeout_ms - usage.idle_ms)
    return min(ahead, default=math.inf)
