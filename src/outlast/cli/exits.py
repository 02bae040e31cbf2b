"""Exit codes of commands: 0 success, 1 failure or a bad result, 2 a wrong command line or no node."""

from outlast.core.errors import OutlastError


class Failed(OutlastError):
    """A command was understood, but failed or had a bad result."""
