"""The folder that holds the workers' own folders, for as long as the node runs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "outlast-node-"
MAX_FOLDER_BYTES = 60
"""What unix(7) leaves of the 108 bytes (104 elsewhere) of a socket's path when the rest of ours is taken away."""


@contextlib.contextmanager
def run_dir() -> Iterator[Path]:
    """A new folder that only this user can enter; removed at the end, as are those of nodes that could not do it.

    It lies in the system's temporary folder, and not in the project, because the path of a unix socket has to be short.
    """
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent)) > MAX_FOLDER_BYTES - len(PREFIX):
        parent = Path("/tmp")  # noqa: S108, mkdtemp makes the folder in it safe
    _remove_abandoned(parent)
    folder, lock = _locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(parent: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock, which goes with the process however that ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        # Another node that started just now took it for abandoned.
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
