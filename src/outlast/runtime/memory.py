"""Makes room after a MemoryError, because reporting it takes memory, too."""

import traceback

has_reserve = False
"""Whether this process has a limit that it may still raise."""


def make_room(error: BaseException) -> None:
    """Call it with any error that the function's code raised, before anything else is done with it."""
    global has_reserve
    if not isinstance(error, MemoryError):
        return
    if has_reserve:
        import resource

        has_reserve = False
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    # What filled the memory is probably in the variables of the functions that the error has left.
    traceback.clear_frames(error.__traceback__)
