"""A private view of the file system (mount_namespaces(7)), read-only except for a few folders.

Landlock only covers the contents and names of files. This covers the rest: modes, owners, times, attributes.
"""

import contextlib
import os
import struct
from collections.abc import Iterable

from outlast.sandbox import capabilities, kernel

_CLONE_NEWNS, _CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
_AT_FDCWD = (1 << 64) - 100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY_PATH = 4
_RDONLY, _NOSUID, _NODEV = 1, 2, 4
_MS_SLAVE = 1 << 19


def make_read_only(but: Iterable[str]) -> None:
    """From now on, this process and what it starts can only change what is in these folders. Raises OSError.

    Needs CAP_SYS_ADMIN, or the right to create user namespaces; in the latter case it has no capabilities afterwards.
    """
    outermost = _outermost(but)
    privileged = os.geteuid() == 0
    if privileged:
        kernel.syscall("unshare", _CLONE_NEWNS)
    else:
        _unshare_as_nobody()
    with contextlib.ExitStack() as stack:
        trees = []
        for folder in outermost:
            flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
            with contextlib.suppress(FileNotFoundError):
                tree = kernel.syscall("open_tree", _AT_FDCWD, os.fsencode(folder) + b"\0", flags)
                stack.callback(os.close, tree)
                trees.append((tree, folder))
        _set(_AT_FDCWD, b"/\0", _AT_RECURSIVE, _RDONLY | _NOSUID)
        for tree, folder in trees:
            _set(tree, b"\0", _AT_EMPTY_PATH, _NOSUID | _NODEV)
            kernel.syscall("move_mount", tree, b"\0", _AT_FDCWD, os.fsencode(folder) + b"\0", _MOVE_FROM_EMPTY_PATH)
    if not privileged:
        capabilities.drop()


def _outermost(folders: Iterable[str]) -> list[str]:
    given = [*dict.fromkeys(folders)]
    return [folder for folder in given if not any(folder.startswith(f"{other}/") for other in given)]


def _set(where: int, path: bytes, flags: int, attributes: int) -> None:
    """Sets attributes of mounts. Later mounts elsewhere appear here, but not the other way round."""
    kernel.syscall("mount_setattr", where, path, flags, struct.pack("=QQQQ", attributes, 0, _MS_SLAVE, 0), 32)


def _unshare_as_nobody() -> None:
    """Enters new user and mount namespaces, keeping the same user id inside (user_namespaces(7))."""
    user, group = os.geteuid(), os.getegid()
    kernel.syscall("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
