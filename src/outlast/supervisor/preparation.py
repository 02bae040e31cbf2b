"""Making one state of a function's files ready to run."""

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path

from outlast.config.files import resolved
from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.supervisor.resources import Program, Resources
from outlast.telemetry.logs import Level


class Preparation:
    """``on_over`` is called after each attempt."""

    def __init__(self, function: FunctionSettings, resources: Resources, on_over: Callable[[], None]) -> None:
        self.is_outdated = False
        """Whether the files have changed since, so that a failure is of no interest any more."""
        self._function = function
        self._resources = resources
        self._on_over = on_over
        self._attempt: asyncio.Task[Program] | None = None
        self._prepared: tuple[int, int] | None = None
        """The folder that the attempt is about."""
        self._known_failure: str | None = None
        """Each request tries again; the same failure is logged only once."""

    def begin(self) -> asyncio.Task[Program]:
        """Starts preparing, or returns the attempt there is. Done once, unless it fails."""
        if self._attempt is None or (self._attempt.done() and self.program is None):
            engine = self._resources.engines[self._function.language]
            self._prepared = _identity(self._function.folder)
            self._attempt = asyncio.get_running_loop().create_task(engine.prepare(self._function))
            self._attempt.add_done_callback(self._over)
        return self._attempt

    def cancel(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    @property
    def is_under_way(self) -> bool:
        return self._attempt is not None and not self._attempt.done()

    @property
    def program(self) -> Program | None:
        """The result; None until there is one."""
        attempt = self._attempt
        if attempt is None or not attempt.done() or attempt.cancelled() or attempt.exception() is not None:
            return None
        return attempt.result()

    @property
    def modules(self) -> frozenset[Path]:
        return self.program.modules if self.program is not None else frozenset()

    def is_concerned(self, path: Path) -> bool:
        """Whether a change to this file or folder can change the function."""
        for folder in {self._function.folder, resolved(self._function.folder)}:
            if path.is_relative_to(folder):
                return True
            # With a folder around it, the function's own may have become another one.
            if folder.is_relative_to(path) and _identity(folder) != self._prepared:
                return True
        # If it could not be prepared, this file may be what was missing.
        return self.program is None or self.program.concerns(path)

    def _over(self, attempt: asyncio.Task[Program]) -> None:
        if attempt.cancelled():
            return
        self._resources.on_prepared()
        error = attempt.exception()
        if error is not None and not self.is_outdated:
            text = str(error) if isinstance(error, OutlastError) else "".join(traceback.format_exception(error))
            if text != self._known_failure:
                self._known_failure = text
                self._resources.log.emit("boot_failure", level=Level.ERROR, function=self._function.name, msg=text)
        self._on_over()


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells a folder from its successor; None: there is none."""
    with contextlib.suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return None
