"""Makes room after a MemoryError, because reporting it takes memory, too."""

import traceback
from collections.abc import Callable


def _no_reserve() -> None:
    pass


use_reserve: Callable[[], None] = _no_reserve
"""Raises this process's limit, if it has one with a reserve. Takes next to no memory itself; may be called again."""


def make_room(error: BaseException) -> None:
    """Call it with any error that the function's code raised, before anything else is done with it."""
    if isinstance(error, MemoryError):
        try:  # noqa: SIM105, that would take memory
            use_reserve()
        except (ValueError, OSError):
            # The function has lowered its limit itself.
            pass
        # What filled the memory is probably in the variables of the functions that the error has left.
        traceback.clear_frames(error.__traceback__)
