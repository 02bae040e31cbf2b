"""Runs first in a Python worker, forked or not: sets up where modules are found, then starts the guest."""

import functools
import json
import site
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from outlast.engines.python.unlisted import UnlistedFinder


class Start(TypedDict):
    """What a worker is told, as JSON, before its control channel is open."""

    folder: str
    """The worker's own folder."""
    script: str
    code: Sequence[str]
    """Folders of the function: its modules come before all others."""
    shared: Sequence[str]
    """Folders of all functions: their modules come after all others."""
    environment: str | None
    """The folder of the function's own environment, if a forked worker should use it."""
    layers: Sequence[str]
    """The layers of the sandbox that confine the worker."""
    memory_mb: int
    """Its memory limit in MiB; 0: none."""
    keeps: bool
    """Whether it was given the memory of `outlast.wire.kept`."""


IN_A_NEW_INTERPRETER = (
    "import json, sys; own, start = map(json.loads, sys.argv[1:]); sys.path += [p for p in own if p not in sys.path]; "
    "from outlast.engines.python.start import run; run(start)"
)
"""The program of a worker that is not forked. The function's environment comes first: its versions win."""


def arguments(own: Sequence[str], start: Start) -> list[str]:
    """The interpreter's arguments to run `IN_A_NEW_INTERPRETER`."""
    return ["-I", "-B", "-X", "utf8", "-c", IN_A_NEW_INTERPRETER, json.dumps(own), json.dumps(start)]


def run(start: Start) -> None:
    """Becomes the worker; call it on the main thread. Returns only when the process is about to end."""
    # The node imports this module too, but does not need the guest.
    from outlast.engines.python import guest, memory
    from outlast.runtime import hints
    from outlast.sandbox import confine, kernel

    if start["environment"] is not None:
        _enter(Path(start["environment"]))
    sys.path[:] = [*dict.fromkeys([*start["code"], *sys.path, *start["shared"]])]
    sys.meta_path.append(UnlistedFinder(start["shared"]))
    sys.argv[:] = [start["script"]]
    # Beside the function it would look like a change to it, and workers must not change their environment.
    sys.dont_write_bytecode = True
    # Both may have read another process's environment variables.
    tempfile.tempdir = None
    time.tzset()
    if sys.platform == "linux":
        # Whatever the function starts counts as its worker's.
        kernel.adopt_orphans()
    memory.confine(start["memory_mb"])
    hints.walled = len(start["layers"]) > 0
    guest.main(start["folder"], functools.partial(confine.seal, start["layers"]), keeps=start["keeps"])


def _enter(environment: Path) -> None:
    """Has an environment's packages found before those of this process, but after the standard library."""
    before = len(sys.path)
    site.addsitedir(str(next(environment.glob("lib/python3*/site-packages"))))
    added = sys.path[before:]
    del sys.path[before:]
    packages = (index for index, entry in enumerate(sys.path) if Path(entry).name in ("site-packages", "dist-packages"))
    at = next(packages, before)
    sys.path[at:at] = added
    sys.prefix = sys.exec_prefix = str(environment)
    sys.executable = str(environment / "bin" / "python")
