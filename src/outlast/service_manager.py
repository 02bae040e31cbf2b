"""The service manager that started this node: systemd, or one like it (sd_listen_fds(3), sd_notify(3))."""

import os
import socket
from collections.abc import Mapping

from outlast.core.errors import OutlastError
from outlast.telemetry.logs import Level, Log

_PASSED = 3
"""The first file descriptor after standard input, output and error."""
_ENDING_S = 30
"""What a node may take beyond its own timeout to end what is left, and to write down what became of it."""
_LONGEST_S = 365 * 86_400.0
"""For a timeout without end."""


class ServiceManager:
    def __init__(self, environ: Mapping[str, str], log: Log) -> None:
        self._environ = environ
        self._log = log

    def opened(self) -> socket.socket | None:
        """The socket that it opened for this node, to be listened on. Raises `OutlastError` for one of no use."""
        count = self._environ.get("LISTEN_FDS", "0")
        if count == "0" or self._environ.get("LISTEN_PID") != str(os.getpid()):
            return None
        if count != "1":
            raise OutlastError(f"the service manager passed {count} sockets (LISTEN_FDS), and functions have one port")
        try:
            passed = socket.socket(fileno=_PASSED)
            is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise OutlastError(f"the service manager passed no socket (LISTEN_FDS): {error.strerror}") from error
        if not is_listening or passed.family not in (socket.AF_INET, socket.AF_INET6):
            raise OutlastError("the service manager passed a socket (LISTEN_FDS) that does not listen on a TCP port")
        passed.set_inheritable(False)
        return passed

    def ready(self, url: str) -> None:
        self._tell("READY=1", f"STATUS=serving at {url}")

    def stopping(self, timeout_s: float) -> None:
        """``timeout_s``: how long requests and tasks have to finish."""
        patience_us = min(timeout_s + _ENDING_S, _LONGEST_S) * 1e6
        self._tell("STOPPING=1", "STATUS=finishing requests and tasks", f"EXTEND_TIMEOUT_USEC={patience_us:.0f}")

    def _tell(self, *news: str) -> None:
        address = self._environ.get("NOTIFY_SOCKET")
        if not address:
            return
        if address[0] == "@":
            # Without a path.
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto("\n".join(news).encode(), address)
        except OSError as error:
            text = f"the service manager cannot be told ({news[0]}, NOTIFY_SOCKET): {error.strerror}"
            self._log.emit("config", level=Level.WARNING, msg=text)
