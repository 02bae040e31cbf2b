"""Errors, and other values that were not expected, as text."""

import contextlib
import functools
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from outlast.runtime import hints, memory

_PACKAGE = Path(__file__).parents[1]
_OWN = ("<frozen ", f"{_PACKAGE / 'runtime'}/", f"{_PACKAGE / 'engines'}/")
_MACHINERY = (
    *_OWN,
    f"{sysconfig.get_path('stdlib')}/",
    f"{sysconfig.get_path('platstdlib')}/",
)


@functools.lru_cache(maxsize=4096)
def is_users_code(file_name: str) -> bool:
    """Whether a file belongs to the function rather than to Python, a library or Outlast."""
    return not (file_name.startswith(_MACHINERY) or "/site-packages/" in file_name)


def describe(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames that lead up to the function's own code; and what to do.

    Never raises, whatever the error's own methods do.
    """
    try:
        memory.make_room(error)
        whole = traceback.TracebackException.from_exception(error, compact=True)
        for part in _parts(whole):
            _trim(part)
        said = "".join(whole.format()).rstrip("\n")
    except Exception:
        return _unprintable(error)
    with contextlib.suppress(Exception):
        if hint := hints.hint(error):
            return f"{said}\n\nhint: {hint}"
    return said


def summary(error: BaseException) -> str:
    """Its type and its message. Never raises either."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return _unprintable(error)


def shown(value: object) -> str:
    """A value, at most some 200 characters of it. Never raises either."""
    try:
        text = repr(value)
    except Exception:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 200 else text[:200] + "..."


def _unprintable(error: BaseException) -> str:
    return f"{type(error).__name__} [an error that cannot be printed]"


def _parts(whole: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield whole
    for part in (whole.__cause__, whole.__context__, *(getattr(whole, "exceptions", None) or ())):
        if part is not None:
            yield from _parts(part)


def _trim(part: traceback.TracebackException) -> None:
    stack = part.stack
    first = next((index for index, frame in enumerate(stack) if is_users_code(frame.filename)), None)
    if first is None:
        # None of the function's code ran, as when it does not compile.
        first = next((index for index, frame in enumerate(stack) if not frame.filename.startswith(_OWN)), len(stack))
    del stack[:first]
    if not stack:
        # Then it is printed without a heading.
        part.stack = None  # type: ignore[assignment]
