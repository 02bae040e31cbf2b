"""The background tasks that one worker has open."""

from collections.abc import Callable, Iterator

import msgspec

from outlast.core.errors import OutlastError
from outlast.core.records import TaskRecord
from outlast.supervisor.register import Moment
from outlast.wire import messages


class UnknownTask(OutlastError):
    """A worker reported the end of a task it had not started, or started one twice."""


class Task(msgspec.Struct, gc=False):
    record: TaskRecord
    started_at: float
    """On the event loop's clock, in seconds."""
    is_last_word: bool
    """Started by a `beforeunload` listener at the worker's end: it has the grace, and nothing else waits for it."""


class OpenTasks:
    """The open tasks. Each leaves only through `settle` or `interrupt`."""

    __slots__ = ("_last_words", "_open")

    def __init__(self) -> None:
        self._open: dict[int, Task] = {}
        self._last_words = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waited_for(self) -> int:
        """How many of them must settle before the worker may be asked to end."""
        return len(self._open) - self._last_words

    def start(
        self,
        message: messages.TaskStarted,
        moment: Moment,
        make_record: Callable[[messages.TaskStarted, Moment], TaskRecord],
        *,
        is_last_word: bool,
    ) -> None:
        """Raises `UnknownTask` if a task with that number is still open."""
        number = message.task
        if number in self._open:
            raise UnknownTask(f"task {number} was started twice")
        self._open[number] = Task(make_record(message, moment), moment.loop_s, is_last_word)
        if is_last_word:
            self._last_words += 1

    def settle(self, number: int) -> Task:
        """Raises `UnknownTask`."""
        try:
            task = self._open.pop(number)
        except KeyError:
            raise UnknownTask(f"task {number} settled, but is not open") from None
        if task.is_last_word:
            self._last_words -= 1
        return task

    def interrupt(self) -> Iterator[Task]:
        """Takes out all tasks that are still open."""
        while self._open:
            yield self.settle(next(iter(self._open)))
