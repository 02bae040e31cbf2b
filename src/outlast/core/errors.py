"""The one root of every error that Outlast raises on purpose."""


class OutlastError(Exception):
    """Something the user can act on; its text names the thing, what was wrong with it, and what to do."""
