"""How commands end: 0 as asked, 1 it could not be done or came out badly, 2 a wrong command line or no node."""

from outlast.core.errors import OutlastError


class Failed(OutlastError):
    """What was asked for was understood, and did not go well."""
