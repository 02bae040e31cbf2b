"""Which workers of one function are in rotation: those that take requests."""

from outlast.core.outcome import EndReason
from outlast.supervisor.worker import Worker

MAX_GONE_ROUND = 3
"""So many workers of a function may stand still, waiting, before requests have to wait for one to go on."""


class Rotation:
    """Invariant: all of them are of the present generation."""

    def __init__(self) -> None:
        self.ready: list[Worker] = []
        """Those that the next request can go to."""
        self._stuck: set[Worker] = set()
        """Those that it could go to, if their event loops went on."""
        self._due: dict[Worker, EndReason] = {}
        """The ready ones that are to retire, each as soon as another worker takes its place."""

    def __len__(self) -> int:
        """How many count as workers that there may be so many of."""
        # What stands still without computing is gone round, but not without end.
        asleep = sum(worker.has_spare_time for worker in self._stuck)
        computing = len(self._stuck) - asleep
        return len(self.ready) - len(self._due) + computing + max(0, asleep - MAX_GONE_ROUND)

    def add(self, worker: Worker) -> None:
        self.ready.append(worker)

    def remove(self, worker: Worker) -> bool:
        """Whether it was there."""
        self._due.pop(worker, None)
        if worker in self.ready:
            self.ready.remove(worker)
            return True
        if worker in self._stuck:
            self._stuck.remove(worker)
            return True
        return False

    def clear(self) -> list[Worker]:
        """Returns those that were there."""
        were = [*self.ready, *self._stuck]
        self.ready.clear()
        self._stuck.clear()
        self._due.clear()
        return were

    def suspend(self, worker: Worker) -> None:
        """Its event loop stands still."""
        if worker in self.ready:
            self.remove(worker)
            self._stuck.add(worker)

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
        for worker in [*self._due][:1]:
            worker.retire(self._due[worker])
