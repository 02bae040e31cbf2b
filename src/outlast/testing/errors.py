"""Errors in tests, other than failed assertions of their own."""


class Failure(Exception):
    """The server could not do what it was asked to; the text says why."""


class NotSettled(AssertionError):
    """A background task was waited for, and is still open."""
