"""Makes room after a MemoryError, because reporting it takes memory, too."""

import traceback
from collections.abc import Callable


def _no_reserve() -> None:
    pass


use_reserve: Callable[[], None] = _no_reserve
"""Raises this process's limit, if it has one with a reserve. Takes no memory itself, and may be called again."""


def make_room(error: BaseException) -> None:
    """Call it with any error that the function's code raised, before anything else is done with it."""
    if isinstance(error, MemoryError):
        use_reserve()
        # What filled the memory is probably in the variables of the functions that the error has left.
        traceback.clear_frames(error.__traceback__)
