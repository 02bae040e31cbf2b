"""Finds nodes of a project that are gone without having said so: each holds a lock that ends with its process."""

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from outlast.config.shared_files import alone
from outlast.core import ids


class LockedSiblings:
    """The nodes of one project on one machine: each has a file in a folder of the project."""

    def __init__(self, folder: Path, node: str) -> None:
        """Blocks for a moment. Raises OSError."""
        self._folder = folder
        self._node = node
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{node}"
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It was locked before anybody could find it.
        draft.rename(folder / node)

    def departed(self) -> Sequence[str]:
        """The ids of nodes that ended without having said so."""
        # The folder is the user's to delete. Who is gone is then recognised by silence.
        with contextlib.suppress(OSError):
            return [
                path.name
                for path in self._folder.iterdir()
                if path.name != self._node and ids.is_uuid(path.name) and _is_abandoned(path)
            ]
        return []

    def forget(self, ids: Sequence[str]) -> None:
        """Everything has been done for these."""
        for id_ in ids:
            with contextlib.suppress(OSError):
                (self._folder / id_).unlink()

    def close(self, *, is_done: bool) -> None:
        """``is_done``: whether nothing is left to do for this node."""
        if is_done:
            self.forget([self._node])
        os.close(self._lock)


def _is_abandoned(path: Path) -> bool:
    with contextlib.suppress(OSError), alone(path, os.O_RDWR):
        return True
    return False
