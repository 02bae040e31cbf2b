"""Enforces the limits of one worker: asks of it what `outlast.core.limits` makes of its measured usage."""

from typing import Protocol

from outlast.core.lifecycle import State
from outlast.core.limits import Limits, Step, Usage, Verdict
from outlast.core.outcome import EndReason
from outlast.supervisor.meter import Meter, Metered, Metering


class Owner(Metered, Protocol):
    """The worker."""

    @property
    def state(self) -> State: ...

    @property
    def was_ready(self) -> bool: ...

    def limit_due(self, reason: EndReason) -> None:
        """It should get no new requests, preferably once another worker can take its place."""

    def limit_near(self, reason: EndReason) -> None:
        """It must get no new requests, and be told: there is no time to wait for another worker."""

    def limit_reached(self, limit: Verdict) -> None:
        """It has to end now."""

    def may_end(self) -> None:
        """It must end if it has nothing to do. Called at each look as long as `Enforcer.near` is set."""

    def idles(self) -> None:
        """Called now and then while it is ready, has nothing to do, and is near no limit."""

    def stuck(self, is_stuck: bool) -> None:
        """Its event loop is blocked, or goes on again. May be called when nothing has changed."""


class Unmetered:
    """Stands for a `Metering` as long as no code of the function runs."""

    is_busy = rests = False
    quick = 0
    cpu_ms = 0.0
    usage = Usage()

    def is_running(self) -> bool:
        return False

    def _do_nothing(self) -> None: ...

    ready = restart_wall_clock = wake = close = _do_nothing


class Enforcer:
    """Implements `outlast.supervisor.meter.Reader`."""

    def __init__(self, meter: Meter, owner: Owner, limits: Limits, *, has_family: bool) -> None:
        """``has_family``: the worker may start processes, whose usage counts as its own."""
        self.metering: Metering | Unmetered = Unmetered()
        self.near: EndReason | None = None
        """The limit that is so near that the worker must end as soon as it has nothing to do."""
        self._meter = meter
        self._owner = owner
        self._limits = limits
        self._has_family = has_family
        self._says_stuck = self._is_held_up = False

    def begin(self, pid: int) -> None:
        """The function's code is about to be evaluated in this process, or has been. May be called more than once."""
        if isinstance(self.metering, Unmetered):
            self.metering = Metering(self._meter, self._owner, self, pid, self._limits, has_family=self._has_family)
            if self._owner.was_ready:
                # It was faster than the news of which process it is.
                self.metering.ready()

    def ready(self) -> None:
        """What it uses from now on counts."""
        self.metering.ready()

    def end(self) -> None:
        self.metering.close()

    @property
    def is_stuck(self) -> bool:
        """Whether its event loop is blocked, by its own account or by its CPU clock."""
        return self._says_stuck or self._is_held_up

    def says_stuck(self, is_stuck: bool) -> None:
        """The worker reports whether its event loop is blocked."""
        self._says_stuck = is_stuck
        self._owner.stuck(self.is_stuck)

    def held_up(self, held_up: bool) -> None:
        self._is_held_up = held_up
        self._owner.stuck(self.is_stuck)

    def measured(self, usage: Usage, verdicts: list[Verdict]) -> None:
        owner = self._owner
        self.near = None
        for verdict in verdicts:
            reason = EndReason(verdict.reason)
            if verdict.step is Step.KILL:
                owner.limit_reached(verdict)
            elif owner.was_ready:
                self.near = reason
                if verdict.step is Step.WARN:
                    owner.limit_near(reason)
                elif verdict.step is Step.RETIRE and owner.state is State.READY:
                    owner.limit_due(reason)
        if self.near is not None:
            owner.may_end()
        elif owner.state is State.READY and not owner.is_working:
            owner.idles()
