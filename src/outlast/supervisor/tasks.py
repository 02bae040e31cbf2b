"""The background tasks that one worker has open."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from outlast.core.errors import OutlastError
from outlast.core.records import TaskRecord
from outlast.wire import messages


class UnknownTask(OutlastError):
    """A worker spoke of a task that it had not started, or started one twice."""


@dataclass(slots=True)
class Task:
    number: int
    """Chosen by the worker; unique in its life."""
    record: TaskRecord
    started_at: float
    """On the event loop's clock, in seconds."""


class OpenTasks:
    """Which tasks are open. Not one leaves except by `settle` or `interrupt`."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Task] = {}

    def __len__(self) -> int:
        return len(self._open)

    def start(
        self, message: messages.TaskStarted, now: float, make_record: Callable[[messages.TaskStarted], TaskRecord]
    ) -> None:
        """Raises `UnknownTask` when the worker used that number before and the task is still open."""
        if message.task in self._open:
            raise UnknownTask(f"task {message.task} was started twice")
        self._open[message.task] = Task(message.task, make_record(message), now)

    def settle(self, number: int) -> Task:
        """Raises `UnknownTask`."""
        try:
            return self._open.pop(number)
        except KeyError:
            raise UnknownTask(f"task {number} settled, but is not open") from None

    def interrupt(self) -> Iterator[Task]:
        """Takes out every task that is still open."""
        while self._open:
            yield self._open.pop(next(iter(self._open)))
