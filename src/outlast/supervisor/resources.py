"""What the supervisor needs from others."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from outlast.config.settings import FunctionSettings
from outlast.core.language import Language
from outlast.core.outcome import EndReason
from outlast.engines.processes import Command, Exit, Process
from outlast.supervisor.meter import Meter
from outlast.supervisor.register import Register
from outlast.telemetry.logs import Log


class Program(Protocol):
    """A function made ready to run: its dependencies are there, its code can be read."""

    def command(self, folder: Path, execution_id: str) -> Command:
        """What to run as a worker whose own folder this is."""

    def limit_reached(self, used: Exit, errors: str) -> EndReason | None:
        """The limit that ended a process which nobody had told to end, if it was one.

        ``errors``: the last lines that it wrote to its standard error, or said of what nobody caught.
        """

    @property
    def modules(self) -> frozenset[Path]:
        """The local files that it imports, links resolved."""

    def concerns(self, path: Path) -> bool:
        """Whether a change of this file (links resolved) changes what the function does."""


class Engine(Protocol):
    """What one language needs to know."""

    async def prepare(self, function: FunctionSettings) -> Program:
        """Called at the start and after each change. Raises OutlastError, saying what is wrong with the function."""


@dataclass(frozen=True)
class Resources:
    """What every pool of a node uses."""

    engines: Mapping[Language, Engine]
    spawn: Callable[[Command], Awaitable[Process]]
    folder: Path
    """For the workers' own folders. Short, as the paths of unix sockets are (unix(7): 108 bytes)."""
    log: Log
    register: Register
    on_prepared: Callable[[], None]
    """Called when it is known what a function imports."""
    meter: Meter
    cpus: int
    """What the machine has."""
