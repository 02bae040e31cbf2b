"""What the supervisor needs from other parts."""

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
    """A function that is ready to run: its dependencies are installed, its code can be read."""

    def command(self, folder: Path, execution_id: str) -> Command:
        """The command that runs a worker with this folder of its own."""

    def limit_reached(self, used: Exit, errors: str) -> EndReason | None:
        """The limit that ended a process that nobody told to end, or None if no limit did.

        ``errors``: the last lines that it wrote to standard error, or reported as uncaught.
        """

    @property
    def modules(self) -> frozenset[Path]:
        """The local files that the function imports, links resolved."""

    def concerns(self, path: Path) -> bool:
        """Whether a change to this file (links resolved) can change what the function does."""


class Engine(Protocol):
    """Prepares and runs the functions of one language."""

    async def prepare(self, function: FunctionSettings) -> Program:
        """Called at the start and after each change. Raises OutlastError that says what is wrong with the function."""


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
    """Called when it has become known what a function imports."""
    meter: Meter
    cpus: int
    """How many the machine has."""
