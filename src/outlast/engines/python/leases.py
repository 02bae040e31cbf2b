"""Which environments are used, and the end of those that nobody has used for long.

A node has the folder of each environment that it uses locked, together with other nodes of the project; whoever removes
one has it alone. The folder's time of change is when it was last used, as far as somebody wrote that down.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from outlast.config.shared_files import alone


class Leases:
    """One node's. What cannot be locked is used all the same, and not removed."""

    def __init__(self, folder: Path, scratch_prefix: str) -> None:
        """``folder``: of the environments; whatever begins with ``scratch_prefix`` there is none of them."""
        self._folder = folder
        self._scratch_prefix = scratch_prefix
        self._held: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Whether there is such an environment. It stays, until `keep` leaves it out."""
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            # There are file systems without locks.
            pass
        if not self._is_in_place(descriptor, name):
            os.close(descriptor)
            return False
        # Another folder of this name may be gone, with the lock on it.
        self._give_back(name)
        self._held[name] = descriptor
        _mark_used(descriptor)
        return True

    def keep(self, names: Collection[str]) -> None:
        """All others are not used any more."""
        for name in [*self._held]:
            _mark_used(self._held[name])
            if name not in names:
                self._give_back(name)

    def remove_unused(self, for_s: float) -> list[Path]:
        """Removes those that nobody has used for so long. Returns them. Blocks; never raises."""
        with contextlib.suppress(OSError):
            return [path for path in sorted(self._folder.iterdir()) if self._removes(path, time.time() - for_s)]
        return []

    def _removes(self, path: Path, unused_since: float) -> bool:
        if path.name.startswith(self._scratch_prefix) or not _is_older(path, unused_since):
            return False
        with contextlib.suppress(OSError), alone(path):
            # Somebody may have used it, and be done with it, just before it was locked.
            if _is_older(path, unused_since):
                # What is left of it if this node is killed is not taken for an environment.
                leaving = path.with_name(f"{self._scratch_prefix}{path.name}")
                path.rename(leaving)
                shutil.rmtree(leaving, ignore_errors=True)
                return True
        return False

    def _is_in_place(self, descriptor: int, name: str) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(descriptor), (self._folder / name).stat())
        return False

    def _give_back(self, name: str) -> None:
        if (descriptor := self._held.pop(name, None)) is not None:
            os.close(descriptor)


def _mark_used(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.utime(descriptor)


def _is_older(path: Path, moment: float) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime < moment
    return False
