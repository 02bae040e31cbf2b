"""Port and passwords of the embedded server: decided before it runs, so that nothing has to wait for it."""

import fcntl
import os
import secrets
import socket
from pathlib import Path
from urllib.parse import quote

import msgspec

from outlast.config import address
from outlast.config.shared_files import write_whole

HOST = "127.0.0.1"
USUAL_PORT = 54322
"""Where Supabase's own local stack has its database."""
OWNER = "outlast"
"""The ledger's user and database."""
GUEST = "postgres"
"""The functions' user and database."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Stored in a file that only this user can read."""

    port: int
    owner_password: str
    guest_password: str

    def url(self, user: str) -> str:
        """The URL of the database with the user's name."""
        password = self.owner_password if user == OWNER else self.guest_password
        return f"postgresql://{user}:{quote(password)}@{HOST}:{self.port}/{user}"


class Folder:
    """``.outlast/pg``. Whoever holds its lock runs the server; the others use it."""

    def __init__(self, path: Path) -> None:
        """Blocks for a moment. Raises OSError."""
        self.path = path
        self.data = path / "data"
        self.log = path / "log"
        self._lock: int | None = None
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self) -> bool:
        """Tries to take the lock. Returns whether this node has it. It ends with the process, however that ends."""
        if self._lock is None:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._lock = lock
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def place(self) -> Place:
        """Port and passwords; decided on the first call."""
        try:
            return self._read()
        except FileNotFoundError:
            port = USUAL_PORT if _is_free(USUAL_PORT) else _any_free_port()
            place = Place(port=port, owner_password=secrets.token_hex(32), guest_password=secrets.token_hex(16))
            self._write(place, replaces=False)
            return self._read()

    def move(self) -> Place:
        """Moves to another port, because another program has taken this one. For the holder of the lock."""
        place = msgspec.structs.replace(self.place(), port=_any_free_port())
        self._write(place, replaces=True)
        return place

    def is_port_free(self) -> bool:
        return _is_free(self.place().port)

    def _read(self) -> Place:
        return msgspec.json.decode((self.path / "place.json").read_bytes(), type=Place)

    def _write(self, place: Place, *, replaces: bool) -> None:
        write_whole(self.path / "place.json", msgspec.json.encode(place), replaces=replaces)


def _is_free(port: int) -> bool:
    try:
        return address.is_free(port)
    except PermissionError:
        return False


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
