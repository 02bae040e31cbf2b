"""Why a worker ended, from what is known of its life."""

from dataclasses import dataclass, replace

from outlast.core.limits import Limits, Step, Verdict
from outlast.core.outcome import EndReason, UnloadReason
from outlast.core.stacks import gist
from outlast.engines.processes import Exit

_CAUSES_TOLD = frozenset([EndReason.ONESHOT, EndReason.RELOAD, EndReason.TERMINATION, EndReason.UNCAUGHT])
_PAST_GRACE = _CAUSES_TOLD | {EndReason.EARLY_DROP}
_UNASKED = frozenset([EndReason.CRASH, EndReason.EXIT, EndReason.PROTOCOL])
_FAILURES = _UNASKED | {EndReason.MEMORY}
_PERHAPS_A_LIMIT = frozenset([None, EndReason.CRASH, EndReason.PROTOCOL])

YOUNG_MS = 1_000


@dataclass(frozen=True)
class End:
    reason: EndReason
    used: Exit
    limit: Verdict | None
    """The limit that ended it, if one did."""
    boot_error: str | None
    """Why it never became ready; None if it did, or if the node no longer wanted it to."""
    ready_ms: int | None
    """For how long it was ready; None if it never became that."""
    grace_ms: int | None
    """The time that `beforeunload` listeners had for what they started when all else was done, or given up."""

    @property
    def is_unasked(self) -> bool:
        """Whether its process ended, or had to be killed, by no decision of the node."""
        return self.reason in _UNASKED

    @property
    def died_young(self) -> bool:
        """Whether it failed so soon after it was ready that another would, too."""
        return self.ready_ms is not None and self.ready_ms < YOUNG_MS and self.reason in _FAILURES

    @property
    def of_last_words(self) -> "End":
        """The same for what listeners started then: it is its grace that cuts it off, under whatever policy."""
        return replace(self, reason=EndReason.EARLY_DROP) if self.reason is EndReason.ONESHOT else self

    @property
    def words(self) -> str:
        """Why its unfinished tasks were cut off, as exactly as is known."""
        reason = self.reason
        if self.limit is not None:
            return limit_words(reason, self.limit)
        if reason in (EndReason.CRASH, EndReason.EXIT):
            return f"{reason.words} ({self.used.words})"
        if self.boot_error is not None:
            return f"{reason.words}: {gist(self.boot_error)}"
        if self.grace_ms is not None and reason is not EndReason.ONESHOT:
            return f"{reason.words}; what a beforeunload listener starts then has {self.grace_ms} ms"
        return reason.words


@dataclass
class Ending:
    """Collects what is done to a worker to end it; `conclude` when it has ended."""

    retired_for: EndReason | None = None
    killed_for: EndReason | None = None
    limit: Verdict | None = None
    """The limit that it was killed for."""
    asked_to_exit: bool = False
    boot_error: str | None = None

    @property
    def cause(self) -> EndReason:
        """Why a retired worker ends that was given time to finish: usually, nothing was left to do."""
        return self.retired_for if self.retired_for in _CAUSES_TOLD else EndReason.EARLY_DROP

    def conclude(
        self, used: Exit, *, ready_ms: int | None, limits: Limits, reached: EndReason | None, errors: str
    ) -> End:
        """``ready_ms``: see `End`. ``reached``: the kernel's limit that ended it, judging by its last ``errors``."""
        was_ready = ready_ms is not None
        reason = self._reason(used, was_ready, reached)
        limit = self.limit or _limit_of_kernel(reason, used, limits)
        boot_error = None if was_ready else self._boot_error(reason, used, limit, errors)
        grace_ms = limits.unload_grace_ms if self.asked_to_exit and reason in _PAST_GRACE else 0
        return End(reason, used, limit, boot_error, ready_ms, grace_ms or None)

    def _reason(self, used: Exit, was_ready: bool, reached: EndReason | None) -> EndReason:
        if self.killed_for is None and self.asked_to_exit:
            return self.cause
        # What looks like a crash may have been a limit.
        reason = (reached or self.killed_for) if self.killed_for in _PERHAPS_A_LIMIT else self.killed_for
        # What could not be reached any more may just have exited.
        if reason is not None and not (reason is EndReason.CRASH and used.regular):
            return reason
        if not was_ready:
            return EndReason.BOOT_FAILURE
        return EndReason.EXIT if used.regular else EndReason.CRASH

    def _boot_error(self, reason: EndReason, used: Exit, limit: Verdict | None, errors: str) -> str | None:
        if limit is not None:
            return f"before it served anything, {limit_words(reason, limit)}"
        if reason not in (EndReason.BOOT_FAILURE, EndReason.PROTOCOL):
            return None
        return self.boot_error or errors.strip() or f"the worker ended before it served anything ({used.words})"


def _limit_of_kernel(reason: EndReason, used: Exit, limits: Limits) -> Verdict | None:
    if reason is EndReason.MEMORY:
        return Verdict(Step.KILL, UnloadReason.MEMORY, used.memory_mb or 0, limits.memory_mb)
    if reason is EndReason.CPU:
        return Verdict(Step.KILL, UnloadReason.CPU, used.cpu_ms or 0, limits.cpu_hard_ms)
    return None


def limit_words(reason: EndReason, limit: Verdict) -> str:
    return f"{reason.words}: {limit.used} {reason.unit} used, {limit.limit} {reason.unit} allowed"
