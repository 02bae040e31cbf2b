"""Files that several nodes may use at once: locks that end with their process, and contents that come as a whole."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Holds the lock of a file or folder. Raises OSError where somebody else does.

    The lock goes with the process, however that ends. ``flags``: to open the file with.
    """
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, *, replaces: bool) -> None:
    """Writes a file that only this user can read, in one step. Raises OSError.

    ``replaces``: without it a file that is there stays, so that the first of two processes decides.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        if replaces:
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
