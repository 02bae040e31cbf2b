"""What is told of each request that has ended: to the figures, to the ledger, and to the log."""

from collections.abc import Callable

from outlast.core.printing import LogLimits
from outlast.gateway.ports import Served
from outlast.storage import Storage
from outlast.telemetry.logs import REQUEST_LEVEL, Log
from outlast.telemetry.quota import Quota

UNREAD_LOGGED = LogLimits(lines_per_s=10, burst_lines=100)
"""Requests whose heads could not be read. To send such ones costs a client next to nothing."""
_UNREAD_LEFT_OUT = "{lines:,} requests that could not be read were left out: more than {lines_per_s:,} a second"


class RequestLog:
    """Its methods are called as `outlast.gateway.ports.Ports` says."""

    def __init__(self, log: Log, storing: Storage) -> None:
        self._log = log
        self._storing = storing
        self._unread = Quota(None, UNREAD_LOGGED, log, _UNREAD_LEFT_OUT)

    def served(self, function: str, status: int, ms: float, tell: Callable[[], Served]) -> None:
        log, storing = self._log, self._storing
        log.observer.request_ended(function, status, ms)
        is_sampled, is_heard = storing.samples(status), log.hears(REQUEST_LEVEL)
        if is_sampled or is_heard:
            served = tell()
            if is_sampled:
                storing.request_served(served)
            if is_heard:
                log.emit_struct("request", served, REQUEST_LEVEL)

    def unread(self, served: Served) -> None:
        log, storing = self._log, self._storing
        log.observer.request_ended(served.function, served.status, served.ms)
        if storing.samples(served.status):
            storing.request_served(served)
        if log.hears(REQUEST_LEVEL) and self._unread.admits():
            log.emit_struct("request", served, REQUEST_LEVEL)

    def close(self) -> None:
        """Logs how many requests were left out last."""
        self._unread.tell()
