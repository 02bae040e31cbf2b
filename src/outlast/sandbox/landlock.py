"""Landlock (landlock(7)): which files, TCP ports, sockets and processes this process and its children can reach."""

import errno
import os
import struct
from collections.abc import Iterable

from outlast.sandbox import kernel

_GET_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
RESOLVE_UNIX = 1 << 16

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
CHANGE = (
    READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
) | REFER
DEVICE = READ_FILE | WRITE_FILE
SOCKETS = MAKE_SOCK | REMOVE_FILE | RESOLVE_UNIX
"""In a folder: to create unix sockets, remove them, and connect to them."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX

_OUT_OF_REACH = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP)
_BIND_TCP = 1
_SCOPE_ABSTRACT_UNIX = 1
_SCOPE_SIGNAL = 2

Rule = tuple[str, int]
"""A path, and the rights to it; those to a folder also apply to everything beneath."""


def version() -> int:
    """The version of the kernel's Landlock interface; 0 if it has none."""
    try:
        return kernel.syscall("landlock_create_ruleset", 0, 0, _GET_VERSION)
    except OSError:
        return 0


def known_rights(abi: int) -> int:
    """The file system rights that a kernel with this version can restrict."""
    last = RESOLVE_UNIX if abi >= 9 else IOCTL_DEV if abi >= 5 else TRUNCATE if abi >= 3 else MAKE_SYM
    rights = (last << 1) - 1
    # The first version always refuses links and renames from one folder to another.
    return rights if abi >= 2 else rights & ~REFER


def restrict(rules: Iterable[Rule], *, listen_on: Iterable[int], abi: int) -> None:
    """From now on, files can only be used as the rules say. There is no way back. Raises OSError.

    Rules for paths that lead nowhere are ignored. If the kernel can, it also restricts listening on TCP to the ports
    given, and signals and abstract sockets to this process and what it starts.
    """
    known = known_rights(abi)
    attributes = struct.pack("=Q", known)
    if abi >= 4:
        attributes += struct.pack("=Q", _BIND_TCP)
    if abi >= 6:
        attributes += struct.pack("=Q", _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL)
    ruleset = kernel.syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & known)
        if abi >= 4:
            for port in listen_on:
                _add(ruleset, _NET_PORT, struct.pack("=QQ", _BIND_TCP, port))
        kernel.syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in _OUT_OF_REACH:
            raise
        # A path that cannot be reached now cannot be reached later either.
        return
    try:
        try:
            _add(ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, beneath))
        except OSError as error:
            if error.errno != errno.EINVAL or rights & _OF_FILES in (0, rights):
                raise
            # It is not a folder. Looking first would take ten times as long on some file systems.
            _add(ruleset, _PATH_BENEATH, struct.pack("=Qi", rights & _OF_FILES, beneath))
    finally:
        os.close(beneath)


def _add(ruleset: int, kind: int, rule: bytes) -> None:
    kernel.syscall("landlock_add_rule", ruleset, kind, rule, 0)
