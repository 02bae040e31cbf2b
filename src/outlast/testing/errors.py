"""What goes wrong in a test besides what it asserts itself."""


class Failure(Exception):
    """What was asked of the server could not be done; the text says why."""


class NotSettled(AssertionError):
    """A background task is still open although it has been waited for."""
