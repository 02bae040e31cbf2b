"""Sets up the sandbox around the calling process."""

import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence

from outlast.sandbox import capabilities, kernel, landlock, mounts, seccomp, walls
from outlast.sandbox.walls import Walls

PRIVATE = 0o077
"""The umask of workers: their files are for their own user only."""


class ConfineError(Exception):
    """A layer that should confine this process cannot be set up; the process must not go on."""


def get_ready() -> None:
    """Does in advance, in the process that workers are forked from, what each of them would do again."""
    if sys.platform == "linux" and seccomp.works_here():
        seccomp.assemble(seccomp.FOR_ALL)
        seccomp.assemble(seccomp.ONCE_LISTENING)


def confine(built: Walls) -> None:
    """Confines this process and everything that it starts. There is no way back.

    The process must have a single thread, and have its standard streams and its folder already. Raises `ConfineError`.
    """
    os.umask(PRIVATE)
    layers: dict[str, Callable[[], None]] = {
        walls.RLIMITS: lambda: _limit(built),
        walls.MOUNTS: lambda: mounts.make_read_only([*built.sockets, *built.change]),
        walls.CAPABILITIES: capabilities.drop,
        walls.PRIVILEGES: kernel.forbid_new_privileges,
        walls.LANDLOCK: lambda: landlock.restrict(_rules(built), listen_on=built.listen_on, abi=landlock.version()),
        # Last, because it forbids some of what the others do.
        walls.SECCOMP: lambda: _filter(built),
    }
    if unknown := {*built.layers} - {*layers}:
        raise ConfineError(f"its sandbox ({', '.join(sorted(unknown))}) is not known")
    for name, build in layers.items():
        if name in built.layers:
            try:
                build()
            except (OSError, ValueError, LookupError, AttributeError) as error:
                raise ConfineError(f"its sandbox ({name}) cannot be set up: {error}") from error


def seal(layers: Sequence[str]) -> None:
    """Takes away what a Python worker needs only until it listens. Raises `ConfineError`.

    ``layers``: as in `Walls`.
    """
    try:
        if walls.PRIVILEGES in layers:
            kernel.set_dumpable(False)
        if walls.SECCOMP in layers:
            seccomp.install(seccomp.ONCE_LISTENING)
    except OSError as error:
        raise ConfineError(f"its sandbox cannot be completed: {error}") from error


def _filter(built: Walls) -> None:
    seccomp.install(seccomp.FOR_ALL)
    if built.sealed:
        seccomp.install(seccomp.ONCE_LISTENING)


def _limit(built: Walls) -> None:
    for name, value in built.rlimits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # SIGXCPU shows afterwards what ended the process. SIGKILL, which comes a second later, would not.
        beyond = 1 if which == resource.RLIMIT_CPU and wanted != hard else 0
        resource.setrlimit(which, (wanted, wanted + beyond))


def _rules(built: Walls) -> Iterator[landlock.Rule]:
    for rights, paths in (
        (landlock.READ_FILE, built.files),
        (landlock.READ, built.read),
        (landlock.RUN, built.run),
        (landlock.CHANGE, built.change),
        (landlock.DEVICE, built.devices),
        (landlock.SOCKETS, built.sockets),
    ):
        for path in paths:
            yield path, rights
