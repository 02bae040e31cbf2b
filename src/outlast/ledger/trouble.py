"""What the ledger's database does not take, and what the user hears of it: once if it lasts, and when it is over."""

import asyncio
from collections.abc import Callable
from configparser import InterpolationError
from typing import Protocol

import asyncpg

from outlast.core.errors import OutlastError

PATIENCE_S = 10.0
"""Out of reach for so long, a database that was in reach is worth a word: it may just be started again."""
UNREACHABLE = (
    *(OSError, OutlastError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.exceptions.InternalClientError),
)
"""The errors of a database that is out of reach, or refuses something."""

_RECORDS_WAIT = "records wait in memory, {:,} at most of each kind, until it takes them"
_NOT_CLOSED = (
    "records are written all the same; but servers that share the database may take this one for lost, and if it is "
    "killed, what it had open may stay open until the project is served again and signs of life are taken"
)
_STAYS_OPEN = "it stays open until the database takes that"
_KEPT = "they stay, and the ledger grows"
_FROM_MEMORY = "they are answered with what this server remembers"

_REMEDIES = (
    (
        asyncpg.InsufficientPrivilegeError,
        "Its user must own the schema outlast and what is in it, or have been granted all rights to that",
    ),
    (
        asyncpg.UndefinedObjectError,
        "What PostgreSQL does not know has to be left out of the URL",
    ),
    (
        InterpolationError,
        "A % in that file is written as %%; or leave the password out there, and set PGPASSWORD",
    ),
    (
        (FileNotFoundError, PermissionError),
        "That is about the folder of its unix socket, or about a file that the URL names, such as sslrootcert",
    ),
    (
        (asyncpg.SyntaxOrAccessError, asyncpg.NotNullViolationError),
        "Its tables are not what this version of Outlast writes to: if servers of a newer one share the database, "
        "upgrade this one; otherwise undo what was changed in the schema outlast",
    ),
)


class Report(Protocol):
    def __call__(self, text: str, *, is_trouble: bool) -> None: ...


class Trouble:
    """Begins with there being no connection yet."""

    def __init__(
        self,
        report: Report,
        of: str,
        meanwhile: str,
        *,
        name: str,
        first_patience_s: float,
        is_lasting: Callable[[BaseException], bool],
    ) -> None:
        """``of``: what the database should take. ``meanwhile``: what it means that it does not.

        For the other arguments see `outlast.ledger.postgres.PostgresLedger`.
        """
        self.error: str | None = None
        self._report = report
        self._name = name
        self._of = of
        self._meanwhile = meanwhile
        self._is_lasting = is_lasting
        self._patience_s = first_patience_s
        self._time = asyncio.get_running_loop().time
        self._since: float | None = self._time()
        self._is_told = False

    @property
    def is_over(self) -> bool:
        return self._since is None

    def goes_on(self, error: BaseException, *, is_refusal: bool) -> None:
        """``is_refusal``: whether the database answers, and does not take it."""
        now = self._time()
        # Details and hints of PostgreSQL's are lines of their own.
        self.error = " ".join(str(error).split()) or type(error).__name__
        if self._since is None:
            self._since = now
        is_lasting = self._is_lasting(error)
        if self._is_told or not (is_lasting or now - self._since >= self._patience_s):
            return
        self._is_told = True
        what = f"refuses {self._of}" if is_refusal else "cannot be used" if is_lasting else "is out of reach"
        self._report(f"{self._name} {what} ({self.error}): {self._meanwhile}{_remedy(error)}", is_trouble=True)

    def ends(self, besides: str = "") -> None:
        """``besides``: what else is to be said of it."""
        self._since = self.error = None
        self._patience_s = PATIENCE_S
        if self._is_told:
            self._is_told = False
            self._report(f"{self._name} takes {self._of} again{besides}", is_trouble=False)


class Troubles:
    """All that can be wrong with a ledger's database."""

    def __init__(self, make: Callable[[str, str], Trouble], capacity: int) -> None:
        """``make``: a `Trouble` of what, and with which meaning. ``capacity``: how many records of a kind may wait."""
        self.records = make("records", _RECORDS_WAIT.format(capacity))
        self.silence = make("signs of life", _NOT_CLOSED)
        self.leftovers = make("the end of what lost servers had open", _STAYS_OPEN)
        self.growth = make("the deletion of old records", _KEPT)
        self.questions = make("questions", _FROM_MEMORY)
        # Without a connection there is neither.
        self.growth.ends()
        self.questions.ends()

    @property
    def error(self) -> str | None:
        """The first one's that matters to whoever writes or asks."""
        return self.records.error or self.silence.error or self.leftovers.error or self.questions.error


def _remedy(error: BaseException) -> str:
    cause = error if isinstance(error, asyncpg.PostgresError) else error.__cause__
    return next((f". {text}" for kinds, text in _REMEDIES if isinstance(cause, kinds)), "")
