"""The workers of one function that take requests."""

from outlast.core.outcome import EndReason
from outlast.supervisor.worker import Worker

MAX_GONE_ROUND = 3
"""So many workers of a function may stand still, waiting, before requests have to wait for one to go on."""


class Rotation:
    """Invariant: all of them belong to the present generation."""

    def __init__(self) -> None:
        self.ready: list[Worker] = []
        """The workers that the next request can go to."""
        self._stuck: set[Worker] = set()
        """Those whose event loops are blocked."""
        self._due: dict[Worker, EndReason] = {}
        """Ready workers that should retire, each as soon as another one takes its place."""

    @property
    def places_taken(self) -> int:
        """How many of `max_workers` they count for."""
        # What stands still without computing is gone round, but not without end.
        asleep = sum(worker.has_spare_time for worker in self._stuck)
        computing = len(self._stuck) - asleep
        return len(self.ready) - len(self._due) + computing + max(0, asleep - MAX_GONE_ROUND)

    def add(self, worker: Worker) -> None:
        self.ready.append(worker)

    def remove(self, worker: Worker) -> bool:
        """Returns whether it was there."""
        self._due.pop(worker, None)
        if worker in self.ready:
            self.ready.remove(worker)
            return True
        if worker in self._stuck:
            self._stuck.remove(worker)
            return True
        return False

    def clear(self) -> list[Worker]:
        """Returns all that were there."""
        were = [*self.ready, *self._stuck]
        self.ready.clear()
        self._stuck.clear()
        self._due.clear()
        return were

    def suspend(self, worker: Worker) -> None:
        """Its event loop stands still."""
        if worker not in self.ready:
            return
        cause = self._due.get(worker)
        self.remove(worker)
        if cause is None:
            self._stuck.add(worker)
        else:
            # It was to take requests until another does, which comes in any case.
            worker.retire(cause)

    def resume(self, worker: Worker) -> bool:
        """Its event loop goes on. Returns whether it takes requests again."""
        if worker not in self._stuck:
            return False
        self._stuck.remove(worker)
        self.ready.append(worker)
        return True

    # Replacement.

    @property
    def due(self) -> int:
        """How many wait for a successor."""
        return len(self._due)

    def expire(self, worker: Worker, cause: EndReason) -> None:
        """A ready one is to retire when another takes its place."""
        self._due.setdefault(worker, cause)

    def relieve(self) -> None:
        """One more is ready: the first that waits for that retires."""
        if self._due:
            worker, cause = next(iter(self._due.items()))
            worker.retire(cause)
