"""The servers that a run has up: what several works need is started once."""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench import contenders, project
from bench.connection import BenchError
from bench.project import Function

QUIET = ("--no-verify-jwt", "--log-level=warning", "--graceful-exit-timeout=0")
"""The peers check no tokens and write no log of requests either."""

OnLog = Callable[[bytes], object]
Entrance = Callable[[], AbstractContextManager[str]]
"""Starts a peer, for as long as the block, which is given its address."""


def _ignore(_: bytes) -> None:
    pass


class Node:
    """Outlast, serving."""

    def __init__(self, served: contenders.Served) -> None:
        self.pid = served.pid
        self._served = served

    def url(self, function: str) -> str:
        return f"{self._served.url}/functions/v1/{function}"

    def workers(self, function: str) -> list[dict[str, Any]]:
        """As the admin API tells."""
        return [one for one in self._asked("/v1/workers")["items"] if one["function"] == function]

    def dropped_records(self) -> int:
        """Of its ledger."""
        return int(self._asked("/v1/node")["ledger"]["dropped"])

    def _asked(self, path: str) -> Any:
        request = Request(f"{self._served.admin_url}{path}", headers={"Authorization": f"Bearer {self._served.token}"})
        with urlopen(request) as answer:
            return json.load(answer)


class Stage:
    """``shared`` are the functions of the node that works share. A frugal one starts no other where that one will do,
    and no database for others.
    """

    def __init__(self, shared: Mapping[str, Function], is_frugal: bool) -> None:
        self._shared = shared
        self._is_frugal = is_frugal
        self._node: Node | None = None
        self._for_all = contextlib.ExitStack()
        self._for_one = contextlib.ExitStack()
        self.missing: dict[str, str] = {}
        """Of the present work: why a peer is not there."""

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._for_one.close()
        self._for_all.close()

    @contextlib.contextmanager
    def scene(self) -> Iterator[None]:
        """One work: what it starts with ``own_node`` and ``peers`` ends with it."""
        self.missing = {}
        try:
            yield
        finally:
            self._for_one.close()

    @property
    def node(self) -> Node:
        if self._node is None:
            self._node = self._started(self._for_all, self._shared)
        return self._node

    def own_node(self, served: Mapping[str, Function], *arguments: str, on_log: OnLog = _ignore) -> Node:
        if self._is_frugal:
            if not arguments and served.items() <= self._shared.items():
                return self.node
            arguments = ("--database=off", *arguments)
        return self._started(self._for_one, served, arguments, on_log)

    def peers(self, entrances: Mapping[str, Entrance]) -> dict[str, str]:
        """Their addresses, by name, of those that are installed."""
        found = {}
        for name, entrance in entrances.items():
            try:
                found[name] = self._for_one.enter_context(entrance())
            except contenders.NotInstalledError as error:
                self.missing[name] = str(error)
        return found

    def _started(
        self,
        stack: contextlib.ExitStack,
        served: Mapping[str, Function],
        arguments: Sequence[str] = (),
        on_log: OnLog = _ignore,
    ) -> Node:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-bench-")))
        started = contenders.serving(project.write(folder, served), [*QUIET, *arguments], on_log)
        return Node(stack.enter_context(started))


def patiently(condition: Callable[[], bool], what: str) -> None:
    """Asks until it holds. Raises BenchError."""
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            raise BenchError(f"waited in vain for {what}")
        time.sleep(0.005)
