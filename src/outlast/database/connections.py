"""Connections to the database that holds the schema ``outlast``, which is there when they are."""

from collections.abc import Callable

import asyncpg

from outlast.core.errors import OutlastError
from outlast.database.migrations import migrate

BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.exceptions.InternalClientError)
"""What a connection can end with; the last of them when it is lost between two steps of asyncpg's own."""
_NO_URL = (ValueError, OverflowError)
"""What asyncpg raises for a URL that it cannot use."""
_LASTING = (
    *_NO_URL,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # Permission denied is one of these.
    asyncpg.SyntaxOrAccessError,
)
CONNECT_WITHIN_S = 5.0
COMMAND_WITHIN_S = 10.0


class DatabaseError(OutlastError):
    """The database cannot be reached, or is not as it should be."""


def is_lasting(error: BaseException) -> bool:
    """Whether waiting alone will not help: somebody has to change the database, or its URL."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    return isinstance(cause, _LASTING)


class Database:
    """``url``: asked for at each connection, because the server may have moved."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    async def connect(self) -> "asyncpg.Connection":
        """Raises DatabaseError."""
        try:
            connection = await asyncpg.connect(
                self._url(),
                timeout=CONNECT_WITHIN_S,
                command_timeout=COMMAND_WITHIN_S,
                # Poolers such as Supabase's give each transaction another session, without what was prepared.
                statement_cache_size=0,
            )
        except _NO_URL as error:
            raise DatabaseError(f"its URL cannot be used: {error}") from error
        except BROKEN as error:
            raise DatabaseError(str(error) or type(error).__name__) from error
        try:
            await migrate(connection)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, BROKEN):
                raise DatabaseError(f"its schema cannot be brought up to date: {error}") from error
            raise
        return connection
