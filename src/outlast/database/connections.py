"""Connections to the database with the schema ``outlast``, which is migrated when they are opened."""

from collections.abc import Callable
from configparser import Error as ServiceFileError

import asyncpg

from outlast.core.errors import OutlastError
from outlast.database.choice import each_host
from outlast.database.migrations import migrate

BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.exceptions.InternalClientError)
"""The errors of a broken connection; the last one when it is lost between two of asyncpg's own steps."""
_UNUSABLE = (ValueError, LookupError)
"""What asyncpg raises for a URL or a variable that it cannot use. LookupError is for an empty host, and for a user
without a name where the URL has none."""
_LASTING = (
    *(*_UNUSABLE, ServiceFileError),
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # Permission denied is one of these.
    asyncpg.SyntaxOrAccessError,
    # Somebody has added the column.
    asyncpg.NotNullViolationError,
)
CONNECT_WITHIN_S = 5.0
COMMAND_WITHIN_S = 10.0


class DatabaseError(OutlastError):
    """The database cannot be reached, or cannot be used."""


def is_lasting(error: BaseException) -> bool:
    """Whether waiting alone will not help: somebody has to change the database, or its URL."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    return isinstance(cause, _LASTING)


class Database:
    """``url`` is called for each connection, because the server may have moved. Of several hosts in it, one that can be
    written to is used."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._failed: set[str] = set()

    async def connect(self) -> "asyncpg.Connection":
        """Raises DatabaseError."""
        connection = await self._first_of(each_host(self._url()))
        try:
            await migrate(connection)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, BROKEN):
                raise DatabaseError(f"its schema cannot be brought up to date: {error}") from error
            raise
        return connection

    async def _first_of(self, urls: list[str]) -> "asyncpg.Connection":
        """Each has time of its own, of which asyncpg would let the first one that is gone without a word use up all."""
        attributes = None if len(urls) == 1 else "read-write"
        for url in sorted(urls, key=self._failed.__contains__):
            try:
                connection = await _opened(url, attributes)
            except DatabaseError as error:
                self._failed.add(url)
                last = error
            else:
                self._failed.discard(url)
                return connection
        raise last


async def _opened(url: str, attributes: str | None) -> "asyncpg.Connection":
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_WITHIN_S,
            command_timeout=COMMAND_WITHIN_S,
            target_session_attrs=attributes,
            # Poolers such as Supabase's give each transaction another session, without its prepared statements.
            statement_cache_size=0,
        )
    except _UNUSABLE as error:
        raise DatabaseError(f"its URL cannot be used: {error}") from error
    except ServiceFileError as error:
        # Its text quotes the file, which may hold a password.
        raise DatabaseError(f"its service file cannot be used: {type(error).__name__}") from error
    except BROKEN as error:
        raise DatabaseError(str(error) or type(error).__name__) from error
