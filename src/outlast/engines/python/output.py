"""Turns what the function prints, logs and warns of into messages with a level and a request id."""

import contextlib
import faulthandler
import functools
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO, TypeVar, cast

from outlast.runtime import reports
from outlast.runtime.context import request_id
from outlast.runtime.describe import describe, shown
from outlast.wire.messages import FromWorker, Level, Logged

MAX_PENDING = 64 * 1024

T = TypeVar("T")

_recorded: ContextVar[Level | None] = ContextVar("outlast_recorded_level", default=None)
"""The level of the record that this code logs."""


class Writer(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`.

    A message ends where a `write` ends with a newline: one `print` is one message, however many lines it has. Threads,
    requests and what is logged do not mix within a line.
    """

    def __init__(self, level: Level, raw: TextIO) -> None:
        self._level = level
        self._raw = raw
        self._pending: dict[tuple[int, str, Level | None], str] = {}
        self._goes_round = False
        """Whether the function may write bytes."""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        key = (threading.get_ident(), request_id.get(), _recorded.get())
        level = key[2] or self._level
        begun = self._pending.pop(key, None) if self._pending else None
        whole = begun + text if begun else text
        if text.endswith("\n"):
            # Just the newline of a line that was sent early because of its length.
            if whole != "\n" or begun is None:
                reports.log(level if type(text) is str else _level_in(text, level), whole[:-1])
        elif len(whole) > MAX_PENDING:
            reports.log(level, whole)
            self._pending[key] = ""
        elif whole:
            self._pending[key] = whole
        return len(text)

    def flush(self) -> None:
        """Sends the unfinished lines of this thread and request."""
        self._flush_raw()
        if self._pending:
            ours = (threading.get_ident(), request_id.get())
            self._send(key for key in [*self._pending] if key[:2] == ours)

    def end_request(self) -> None:
        """Sends the unfinished lines of this request, whichever thread has begun them."""
        self._flush_raw()
        if self._pending:
            id_ = request_id.get()
            self._send(key for key in [*self._pending] if key[1] == id_)

    def finish(self) -> None:
        """Sends all unfinished lines."""
        self._send([*self._pending])

    def _flush_raw(self) -> None:
        # What the function has made of the bytes' stream closes it when it is collected.
        if self._goes_round and not self._raw.closed:
            self._raw.flush()

    def _send(self, keys: Iterable[tuple[int, str, Level | None]]) -> None:
        # Other threads may finish some meanwhile.
        for key in keys:
            if text := self._pending.pop(key, ""):
                reports.send(Logged(key[2] or self._level, text, key[1]))

    def reconfigure(self, **_options: object) -> None:
        """Scripts call it to have UTF-8 or whole lines, which they have here."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    @property
    def buffer(self) -> Any:
        """Bytes bypass the channel: the node reads them from the process's output, without a request id."""
        self._goes_round = True
        return self._raw.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"


class _LastResort(logging.Handler):
    """For loggers without any configuration. It is not a handler of the root logger, so that `logging.basicConfig` and
    the like work as in any fresh Python process."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            reports.log(level_of(record.levelno), self.format(record))
        except Exception:
            self.handleError(record)


def level_of(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _level_in(text: str, otherwise: Level) -> Level:
    """What loguru writes carries its record, whose level has a number of `logging`."""
    try:
        return level_of(text.record["level"].no)  # type: ignore[attr-defined]
    except (AttributeError, TypeError, LookupError):
        return otherwise


class Output:
    """``on_thread_error`` is called, in that thread, with an error that ended a thread."""

    def __init__(self, on_thread_error: Callable[[BaseException], None]) -> None:
        self._on_thread_error = on_thread_error
        # What Python has opened may know the descriptors as they were in the process that this one was forked from.
        self._raw = _opened(1), _opened(2)
        self.stdout = Writer("info", self._raw[0])
        self.stderr = Writer("error", self._raw[1])

    def install(self) -> None:
        sys.stdout, sys.stderr = cast(TextIO, self.stdout), cast(TextIO, self.stderr)
        sys.__stdout__, sys.__stderr__ = self._raw  # type: ignore[misc]
        faulthandler.enable(file=2)
        prepare_logging()
        logging.lastResort = _LastResort()
        warnings.showwarning = _show_warning
        sys.unraisablehook = _show_unraisable
        threading.excepthook = self._on_thread_excepthook
        traceback.TracebackException.print = _print_traceback  # type: ignore[method-assign, assignment]

    def uninstall(self) -> None:
        """For a child process that the function has forked: it has no channel, only the two descriptors."""
        sys.stdout, sys.stderr = self._raw
        threading.excepthook = threading.__excepthook__
        reports.connect(self._write, lambda: None)

    def _write(self, message: FromWorker) -> None:
        if isinstance(message, Logged):
            raw = self._raw[message.level in ("warning", "error")]
            raw.write(message.text.encode(errors="backslashreplace").decode() + "\n")
            raw.flush()

    def end_request(self) -> None:
        """The request of this context is over."""
        self.stdout.end_request()
        self.stderr.end_request()

    def finish(self) -> None:
        # What the function has put in their place may keep something back. Python itself ignores that it fails.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        self.stdout.finish()
        self.stderr.finish()
        for raw in self._raw:
            if not raw.closed:
                raw.flush()

    def _on_thread_excepthook(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            self._on_thread_error(args.exc_value)


def _opened(descriptor: int) -> io.TextIOWrapper:
    return os.fdopen(descriptor, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


@functools.cache
def prepare_logging() -> None:
    """Once, and best before a worker is forked: what it changes shows only where a `Writer` is written to."""
    logging.getLogger().setLevel(logging.INFO)
    # A line gets the level of its record, whichever stream a handler was made for.
    logging.Handler.handle = _at_its_level(logging.Handler.handle)  # type: ignore[method-assign]
    logging.Handler.handleError = _report_lost  # type: ignore[method-assign, assignment]


def _report_lost(_: logging.Handler, record: logging.LogRecord) -> None:
    """Says that a record could not be logged, in one piece and by what it was asked for."""
    if logging.raiseExceptions and (error := sys.exception()) is not None:
        where = f'File "{record.pathname}", line {record.lineno}, in {record.funcName}'
        text = (
            f"{describe(error)}\nwhen this was to be logged: {shown(record.msg)}, with {shown(record.args)}\n  {where}"
        )
        reports.log("error", text)


def _level_recorded(record: logging.LogRecord) -> Level | None:
    try:
        return level_of(record.levelno)
    except TypeError:
        # Those that code makes of its own accord may have none (`logging.makeLogRecord`).
        return None


def _at_its_level(handle: Callable[[logging.Handler, logging.LogRecord], T]) -> Any:
    """`logging.Handler.handle`, whose lines have the level of the record."""

    def handle_at(self: logging.Handler, record: logging.LogRecord) -> T:
        before = _recorded.set(_level_recorded(record))
        try:
            return handle(self, record)
        finally:
            _recorded.reset(before)

    return handle_at


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n")
    if file is None or isinstance(file, Writer):
        reports.log("warning", text)
    else:
        file.write(text + "\n")


def _show_unraisable(unraisable: Any) -> None:
    what = unraisable.err_msg or "Exception ignored in"
    error = unraisable.exc_value
    text = f"{what}: {unraisable.object!r}"
    reports.log("error", text if error is None else f"{text}\n{describe(error)}")


def _print_traceback(self: traceback.TracebackException, *, file: TextIO | None = None, **form: Any) -> None:
    """Writes it in one piece, where `traceback.print_exc()` would write line by line. ``form``: what `format` takes."""
    (file or sys.stderr).write("".join(self.format(**form)))
