"""The files in the project's ``.outlast`` folder by which commands find a node and may use it."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from outlast.config.shared_files import write_whole
from outlast.core.errors import OutlastError

TOKEN_FILE = "admin-token"  # noqa: S105, a file's name
NODE_FILE = "node.json"
TOKEN_BYTES = 32
SHORTEST_TOKEN = 16


class Unusable(OutlastError):
    """The folder, or a file in it, cannot be used."""


class NodePlace(msgspec.Struct, frozen=True, kw_only=True):
    """``.outlast/node.json``"""

    url: str
    """Where functions are called."""
    admin_url: str
    pid: int
    started: datetime


def token(state_dir: Path, environ_token: str | None) -> str:
    """The token that callers must send; created at the first start. Raises `Unusable`.

    ``environ_token``: the value of OUTLAST_ADMIN_TOKEN, which overrides the file.
    """
    if environ_token:
        with contextlib.suppress(OSError):
            own_folder(state_dir)
        return _checked(environ_token, "OUTLAST_ADMIN_TOKEN")
    path = state_dir / TOKEN_FILE
    try:
        own_folder(state_dir)
        if not path.exists():
            write_whole(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode(), replaces=False)
        # Whoever could read it before may still know it, but nobody else should.
        path.chmod(0o600)
        return read_token(state_dir)
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from error


def read_token(state_dir: Path) -> str:
    """Reads the token. Raises OSError if there is none, `Unusable` if it is invalid."""
    path = state_dir / TOKEN_FILE
    return _checked(path.read_text(encoding="utf-8", errors="replace").strip(), str(path))


def _checked(text: str, where: str) -> str:
    if len(text) < SHORTEST_TOKEN or not all("!" <= char <= "~" for char in text):
        raise Unusable(f"{where}: is no token: it takes {SHORTEST_TOKEN} or more visible ASCII characters")
    return text


def own_folder(state_dir: Path) -> None:
    """Creates the folder, ignored by git. Raises OSError."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (state_dir / ".gitignore").open("x") as file:
        file.write("*\n")


def announce(state_dir: Path, node: NodePlace) -> None:
    """Has commands find this node: the one started last. Raises OSError."""
    for path, earlier in _each(state_dir):
        if not _runs(earlier):
            path.unlink(missing_ok=True)
    _write(state_dir, node, _own_file(node.pid))
    _write(state_dir, node, NODE_FILE)


def withdraw(state_dir: Path) -> None:
    """At the node's end: has commands find the latest earlier node that still runs, if there is one."""
    with contextlib.suppress(OSError, Unusable):
        (state_dir / _own_file(os.getpid())).unlink(missing_ok=True)
        node = _read(state_dir / NODE_FILE)
        if node is None or node.pid != os.getpid():
            return
        if other := _last_of_those_that_run(state_dir):
            _write(state_dir, other, NODE_FILE)
        else:
            (state_dir / NODE_FILE).unlink()


def find(state_dir: Path) -> NodePlace | None:
    """The node that serves the project, as far as is known; it may have been killed. Raises `Unusable`."""
    node = _read(state_dir / NODE_FILE)
    if node is None or _runs(node):
        return node
    return _last_of_those_that_run(state_dir) or node


def _own_file(pid: int | str) -> str:
    return f"node.{pid}.json"


def _last_of_those_that_run(state_dir: Path) -> NodePlace | None:
    running = [node for _, node in _each(state_dir) if _runs(node)]
    return max(running, key=lambda node: node.started, default=None)


def _each(state_dir: Path) -> Iterator[tuple[Path, NodePlace]]:
    for path in sorted(state_dir.glob(_own_file("*"))):
        with contextlib.suppress(Unusable):
            if (node := _read(path)) is not None:
                yield path, node


def _runs(node: NodePlace) -> bool:
    """Whether there is a process with its id, which may be another one by now."""
    try:
        with contextlib.suppress(PermissionError):
            os.kill(node.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _write(state_dir: Path, node: NodePlace, name: str) -> None:
    write_whole(state_dir / name, msgspec.json.format(msgspec.json.encode(node)) + b"\n", replaces=True)


def _read(path: Path) -> NodePlace | None:
    """None if there is no such file. Raises `Unusable`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodePlace)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Unusable(f"{path}: is not what a server writes there: {error}; start it again") from error
