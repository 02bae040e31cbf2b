"""What to do about errors that say less than their reader needs."""

import errno
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

walled = False
"""Whether this process is confined: then it may be refused what it could do elsewhere."""

FILES = (
    "a function reads what is in its own folder and in _shared, and writes to its temporary folder alone: "
    "tempfile.gettempdir()"
)
DOTENV = (
    "what functions/.env says is in os.environ already, and a function cannot read that file itself. Leave out "
    "load_dotenv(), or put an empty .env beside main.py, where it looks first"
)
CALLS = (
    "a function cannot listen on a port, use unix sockets, start sessions, signal processes of others, or share memory "
    "with its own, as ProcessPoolExecutor and the locks and queues of multiprocessing do. asyncio.to_thread, "
    "ThreadPoolExecutor, multiprocessing.Process and subprocess work"
)
PARENT = "main.py is no part of a package: what lies beside it is imported by its name alone, as in `import helpers`"
PACKAGE = (
    "a package is named in a `# /// script` block at the head of main.py, or in requirements.txt or pyproject.toml "
    "([project]) beside it"
)
TERMINAL = (
    'breakpoint() and input() ask at a terminal, which a worker does not have. docs/python.md, "Debugging", says how a '
    "debugger gets in"
)
TAKEN = "{own}, beside main.py, has the name of a module that is loaded already, {loaded}: give it another one"

_OF_SQLITE = ("unable to open database file", "attempt to write a readonly database")


def hint(error: BaseException) -> str:
    """Empty where there is nothing to say. The first error of those that led to this one counts for which there is."""
    return next(filter(None, map(_about, _all(error, set()))), "")


def _all(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    context = None if error.__suppress_context__ else error.__context__
    for part in (*members, error.__cause__, context):
        yield from _all(part, seen)


def _about(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return PACKAGE if error.name and "." not in error.name else ""
    if isinstance(error, ImportError):
        return PARENT if "no known parent package" in str(error) else _about_name(error.name, error.path)
    if isinstance(error, AttributeError) and isinstance(module := error.obj, ModuleType):
        return _about_name(module.__name__, vars(module).get("__file__"))
    if type(error).__name__ == "BdbQuit" or str(error) == "EOF when reading a line":
        return "" if sys.stdin.isatty() else TERMINAL
    if not walled:
        return ""
    if isinstance(error, OSError):
        return _about_refusal(error)
    # Its own, or of a package that uses it.
    refused = type(error).__name__ == "OperationalError" and any(words in str(error) for words in _OF_SQLITE)
    return FILES if refused else ""


def _about_name(name: str | None, loaded: str | None) -> str:
    own = Path(sys.path[0], f"{name}.py")
    return TAKEN.format(own=own.name, loaded=loaded) if loaded and str(own) != loaded and own.is_file() else ""


def _about_refusal(error: OSError) -> str:
    if error.errno not in (errno.EPERM, errno.EACCES, errno.EROFS):
        return ""
    if error.errno == errno.EPERM or error.filename is None:
        return CALLS
    return DOTENV if Path(str(error.filename)).name == ".env" else FILES
