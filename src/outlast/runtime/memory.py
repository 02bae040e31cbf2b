"""What is to be done first about a MemoryError: to tell of it takes memory too."""

import traceback

has_reserve = False
"""Whether the limit of this process was set to something below what it may be raised to."""


def make_room(error: BaseException) -> None:
    """Call it with what code of the function has ended with, before anything else is done about it."""
    global has_reserve
    if not isinstance(error, MemoryError):
        return
    if has_reserve:
        import resource

        has_reserve = False
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    # What has filled the memory is likely to be in the variables of the functions that it has left.
    traceback.clear_frames(error.__traceback__)
