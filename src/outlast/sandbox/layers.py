"""The layers of the sandbox, and which of them this machine has: each is tried out, rather than judged by version."""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from outlast.sandbox.walls import CAPABILITIES, LANDLOCK, MOUNTS, PRIVILEGES, RLIMITS, SECCOMP

PROBE = Path(__file__).with_name("probe.py")
PROBE_TIMEOUT_S = 10

NEWEST_LANDLOCK = 9
"""The latest version that is made use of here."""


@dataclass(frozen=True)
class Layer:
    name: str
    """For people; with the version, if the layer has several."""
    active: bool
    protects: str
    reason: str = ""
    """Why it is not active; or, if it is, what it lacks. Empty if it lacks nothing."""
    optional: bool = False
    """Many machines lack it, and what it protects does not matter most."""


@dataclass(frozen=True)
class Available:
    """The layers on this machine, for this user."""

    for_walls: Sequence[str]
    """The active ones, as `Walls.layers` has them."""
    layers: Sequence[Layer]

    @property
    def for_people(self) -> list[str]:
        """The names of the active ones, with versions."""
        return [layer.name for layer in self.layers if layer.active]

    @property
    def lacking(self) -> list[Layer]:
        """Layers that should be there and are missing, or lack something."""
        return [layer for layer in self.layers if layer.reason and not layer.optional]


DENO = Layer("deno-permissions", True, "files, variables, programs and native code, for TypeScript")
NOTHING = Available((), ())
"""No sandbox at all."""

_PROTECTS = {
    SECCOMP: "the kernel's rarer calls, other processes, namespaces, raw sockets",
    PRIVILEGES: "the rights of setuid programs",
    RLIMITS: "files without end, core dumps",
    MOUNTS: "modes, owners, times and attributes of files that a function can name",
    CAPABILITIES: "what root may do beyond using its own files",
}
"""What each keeps out of reach. Landlock has a say of its own, by its version."""
_LANDLOCK_SINCE = (
    (1, "files", "Linux 5.13"),
    (3, "truncation of files that may not be written", "Linux 6.2"),
    (4, "listening on TCP ports", "Linux 6.7"),
    (6, "signals to other processes, abstract unix sockets", "Linux 6.12"),
)
"""What each version has added that matters for keeping functions apart."""


def available() -> Available:
    """Tries the layers out in a separate process. Blocks for about 30 ms."""
    if sys.platform != "linux":
        return _elsewhere()
    command = [sys.executable, "-I", "-S", str(PROBE)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=True, env={}, cwd="/")
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        found = dict.fromkeys((LANDLOCK, SECCOMP, PRIVILEGES, RLIMITS, MOUNTS), str(error))
    layers = {LANDLOCK: _landlock(found[LANDLOCK])}
    layers |= {name: _layer(name, found[name]) for name in _PROTECTS if name in found}
    return Available([name for name, layer in layers.items() if layer.active], [DENO, *layers.values()])


def _elsewhere() -> Available:
    reason = f"{platform.system()} has nothing like it that Outlast uses"
    protects = "files of others, other processes"
    kernel = Layer(LANDLOCK, False, protects, f"{reason}: TypeScript is held by Deno's permissions alone, Python not")
    return Available([RLIMITS], [DENO, kernel, _layer(RLIMITS, True)])


def _layer(name: str, found: object) -> Layer:
    """``found``: True, or what is wrong with it."""
    reason = "" if found is True else str(found)
    return Layer(name, found is True, _PROTECTS[name], reason, optional=name == MOUNTS)


def _landlock(found: object) -> Layer:
    protects = "files outside of the function's own, TCP ports to listen on, other processes"
    if not isinstance(found, int) or found < 1:
        return Layer(LANDLOCK, False, protects, str(found))
    missing = [f"{what} ({since})" for version, what, since in _LANDLOCK_SINCE if found < version]
    reason = f"this kernel's version does not cover: {', '.join(missing)}" if missing else ""
    return Layer(f"{LANDLOCK}-{min(found, NEWEST_LANDLOCK)}", True, protects, reason)
