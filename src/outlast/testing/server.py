"""The server that tests call, from its start to its end."""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from outlast.testing import given
from outlast.testing.errors import Failure
from outlast.testing.node import GRACE_S, Started
from outlast.testing.transport import OPTIONS

__tracebackhide__ = True

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = GRACE_S + 10
SHOWN_LINES = 20


class Server:
    """Serves a project, in a process of its own, on free ports of the loopback interface."""

    def __init__(self, project: Path, log_file: Path) -> None:
        """Starts it, and waits until it listens. Raises `Failure`."""
        self.project = project
        self.log_file = log_file
        """Has the log of the server and its functions."""
        self.admin_token = secrets.token_urlsafe(32)
        self._given: list[given.Settings] = []
        environ = {**os.environ, "OUTLAST_ADMIN_TOKEN": self.admin_token}
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                # -P: a module of the project must not be taken for one of the server's.
                [sys.executable, "-P", "-m", "outlast.testing.node", str(project)],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for pytest, which ends the server when the tests have been torn down.
                start_new_session=True,
            )
        try:
            started = self._started()
        except BaseException:
            self.close()
            raise
        self.url = f"{started.url}/functions/v1"
        """The URL of functions, without the function's name."""
        self.admin_url = started.admin_url
        self.anon_key: str = self._admin("GET", "/v1/node")["anon_key"]
        """The key that callers send to functions that check tokens."""
        self._verifies: dict[str, bool] = {}

    def _started(self) -> Started:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        until, said = time.monotonic() + START_TIMEOUT_S, b""
        # Not select.select, which takes no descriptor above 1023.
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        while not said.endswith(b"\n"):
            if not readable.poll(max(0.0, until - time.monotonic()) * 1000):
                raise Failure(
                    f"the server of {self.project} does not listen after {START_TIMEOUT_S:g} s{self._end_of_log()}"
                )
            part = os.read(descriptor, 65_536)
            if not part:
                raise Failure(
                    f"the server of {self.project} did not start{self.what_became_of_it()}{self._end_of_log()}"
                )
            said += part
        started = msgspec.json.decode(said, type=Started)
        if started.error:
            raise Failure(f"the project cannot be served: {started.error}")
        if not started.admin_url:
            raise Failure(f"the server of {self.project} has no admin API{self._end_of_log()}")
        return started

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """Ends the server, and everything that it has started."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def settings(self, settings: given.Settings) -> Iterator[None]:
        """Within the block, overrides the files and the settings of enclosing blocks. Raises `Failure`."""
        if not settings:
            yield
            return
        mine = {**settings}
        self._given.append(mine)
        try:
            self._give()
            yield
        finally:
            # Blocks of concurrent tasks may end in any order.
            self._given = [one for one in self._given if one is not mine]
            if self._process.poll() is None:
                self._give()

    def _give(self) -> None:
        self._admin("PUT", "/v1/settings", given.together(self._given))

    def verifies(self, name: str) -> bool:
        """Whether a function checks tokens."""
        if name not in self._verifies:
            about = self._admin("GET", "/v1/functions")["items"]
            self._verifies = {function["name"]: function["verify_jwt"] for function in about}
        return self._verifies.get(name, False)

    def _admin(self, method: str, path: str, body: object = None) -> Any:
        try:
            with httpx.Client(**OPTIONS, headers=self.admin_headers) as client:
                response = client.request(method, f"{self.admin_url}{path}", json=body)
        except httpx.TransportError as error:
            raise Failure(f"the server does not answer: {error}{self.what_became_of_it()}") from None
        if response.status_code >= 400:
            raise Failure(response.json()["message"])
        return response.json()

    @property
    def admin_headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.admin_token}"}

    def what_became_of_it(self) -> str:
        """How the server has ended, to be appended to an error; empty if it still runs."""
        try:
            # A server whose connections break is about to end.
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return ""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"; its process has ended ({how}), its log is in {self.log_file}"

    def last_lines(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-SHOWN_LINES:])

    def _end_of_log(self) -> str:
        return f"; the end of its log:\n{lines}" if (lines := self.last_lines()) else ""
