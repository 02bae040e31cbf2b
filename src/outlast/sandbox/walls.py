"""What one worker process may touch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

RLIMITS, CAPABILITIES, PRIVILEGES = "rlimits", "capabilities", "no_new_privs"
LANDLOCK, SECCOMP, MOUNTS = "landlock", "seccomp", "mounts"


class Walls(NamedTuple):
    """What one worker process may touch. Folders stand for all that is beneath them; what does not exist is left out.

    It travels to the process that starts the worker as JSON, made of `_asdict`.
    """

    layers: Sequence[str] = ()
    """The names of those that shall hold it, see `outlast.sandbox.layers`; that one of them does not work is fatal."""
    files: Sequence[str] = ()
    """To be read, and no folders: to find out which a path is takes time."""
    read: Sequence[str] = ()
    run: Sequence[str] = ()
    """Programs, which may be read too."""
    change: Sequence[str] = ()
    """Read and write; not to be run."""
    devices: Sequence[str] = ()
    """Read and write, with no other operation."""
    sockets: Sequence[str] = ()
    """Folders to listen on unix sockets in, and to connect to those there."""
    listen_on: Sequence[int] = ()
    """TCP ports."""
    sealed: bool = False
    """Whether it makes no unix sockets from the beginning, and listens nowhere."""
    rlimits: Mapping[str, int] = {}
    """By the names that getrlimit(2) has for them, without ``RLIMIT_``."""
