"""Makes room after a MemoryError, because reporting it takes memory, too."""

import traceback
from collections.abc import Callable


def _no_reserve() -> None:
    pass


use_reserve: Callable[[], None] = _no_reserve
"""Raises this process's limit, if it has one with a reserve. Takes next to no memory itself; may be called again."""


def is_short(error: BaseException) -> bool:
    """Whether it is a MemoryError, or a group with one, as `asyncio.TaskGroup` raises it."""
    return isinstance(error, MemoryError) or any(map(is_short, _members(error)))


def make_room(error: BaseException) -> None:
    """Call it with any error that the function's code raised, before anything else is done with it."""
    if is_short(error):
        try:  # noqa: SIM105, that would take memory
            use_reserve()
        except (ValueError, OSError):
            # The function has lowered its limit itself.
            pass
        # What filled the memory is probably in the variables of the functions that the error has left.
        _clear(error)


def _clear(error: BaseException) -> None:
    traceback.clear_frames(error.__traceback__)
    for member in _members(error):
        _clear(member)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()
