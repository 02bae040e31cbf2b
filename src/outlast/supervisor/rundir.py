"""The folder that holds the workers' own folders, for as long as the node runs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from outlast.config.shared_files import alone

PREFIX = "outlast-node-"
MAX_FOLDER_BYTES = 60
"""The path of a unix socket has at most 108 bytes (unix(7); 104 elsewhere); ours needs the rest of them."""


@contextlib.contextmanager
def run_dir() -> Iterator[Path]:
    """A new folder that only this user can enter. It is removed at the end, and so are those that killed nodes left.

    It is in the system's temporary folder, not in the project, because the path of a unix socket must be short.
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
    """A new folder, and the descriptor that holds its lock, which ends with the process, however that ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Another node that starts just now may take it for abandoned, until it is locked.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                with alone(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW):
                    shutil.rmtree(folder, ignore_errors=True)
