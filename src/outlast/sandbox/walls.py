"""The description of a sandbox: what one worker process may touch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

RLIMITS, CAPABILITIES, PRIVILEGES = "rlimits", "capabilities", "no_new_privs"
LANDLOCK, SECCOMP, MOUNTS = "landlock", "seccomp", "mounts"


class Walls(NamedTuple):
    """What one worker process may touch. A folder includes everything beneath it; missing paths are ignored.

    It is sent to the process that starts the worker as JSON, made from `_asdict`.
    """

    layers: Sequence[str] = ()
    """The layers to set up, by name (see `outlast.sandbox.layers`); if one fails, the worker does not start."""
    files: Sequence[str] = ()
    """To be read. No folders: finding out whether a path is one takes time."""
    read: Sequence[str] = ()
    run: Sequence[str] = ()
    """Programs to be run, and read."""
    change: Sequence[str] = ()
    """To be read and written, but not run."""
    devices: Sequence[str] = ()
    """To be read and written, with no other operation."""
    sockets: Sequence[str] = ()
    """Folders in which unix sockets may be listened on and connected to."""
    listen_on: Sequence[int] = ()
    """TCP ports to listen on."""
    sealed: bool = False
    """Whether it may create no unix sockets and listen nowhere, right from the beginning."""
    rlimits: Mapping[str, int] = {}
    """By their names in getrlimit(2), without ``RLIMIT_``."""
