"""Finds the node that a command is for, and calls its admin API."""

import http.client
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from outlast.admin import place
from outlast.cli.exits import Failed
from outlast.cli.lines import say
from outlast.config.layout import STATE
from outlast.core.errors import OutlastError

TIMEOUT_S = 30.0
NOBODY = "start it with `outlast serve`, or name its admin API with --admin-url or OUTLAST_ADMIN_URL"

Params = Mapping[str, str | int | None]


class NoNode(OutlastError):
    """There is no node, or it does not answer."""


class Client:
    """Calls one node. All methods raise `NoNode`, or `Failed` with the node's message."""

    def __init__(self, url: str, token: str) -> None:
        self._url = _checked(url)
        self._fields = {"authorization": f"Bearer {token}"}

    def get(self, path: str, **params: str | int | None) -> Any:
        with self._asked("GET", path, params) as response, answering(self._no_node):
            return msgspec.json.decode(response.read())

    def make_sure_of(self, function: str) -> None:
        """Raises `Failed`, with what there is, where no such function is served and no task of one is on record."""
        if not self.get("/v1/tasks", function=function, limit=1)["items"]:
            self.get(f"/v1/functions/{quoted(function)}")

    def tell_if_unknown(self, function: str) -> None:
        """The same, for who may wait for it to be made."""
        try:
            self.make_sure_of(function)
        except Failed as error:
            say(f"{error}; waiting for what it does")

    def tell_what_is_wrong(self) -> None:
        """Of the ledger, after something that may not be all there is in it."""
        error = self.get("/v1/node")["ledger"]["error"]
        if error is not None:
            say(f"this may not be everything, since all is not well with the ledger's database: {error}")

    def catch_up(self) -> None:
        """Waits until the node knows what its workers have said, since responses come sooner than that."""
        with self._asked("POST", "/v1/catch-up", {}):
            pass

    @contextmanager
    def live(self, **params: str | int | None) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of the log as they happen, until the node ends. None is missed once the block is entered."""
        # The node sends something every 15 seconds.
        with self._asked("GET", "/v1/events/live", params) as response:
            yield self._events(response)

    @contextmanager
    def _asked(self, method: str, path: str, params: Params) -> Iterator[http.client.HTTPResponse]:
        query = urlencode({name: value for name, value in params.items() if value is not None})
        with closing(connect(self._url, TIMEOUT_S)) as connection:
            with answering(self._no_node):
                target = f"{self._url.path.rstrip('/')}{path}{'?' if query else ''}{query}"
                connection.request(method, target, headers=self._fields)
                response = connection.getresponse()
                if response.status != 200:
                    _refuse(response)
            yield response

    def _no_node(self, why: str) -> NoNode:
        return NoNode(f"no server answers at {self._url.geturl()} ({why}); {NOBODY}")

    def _events(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        kind = ""
        with answering(self._no_node):
            try:
                while line := response.readline():
                    name, _, value = line.decode().rstrip("\r\n").partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        event: dict[str, Any] = msgspec.json.decode(value)
                        yield {"event": kind, **event} if kind else event
                        kind = ""
            except (ConnectionError, http.client.IncompleteRead):
                # The node was killed, and could not end the stream.
                return


def find(admin_url: str | None) -> Client:
    """A client for the node that the user means. Raises OutlastError."""
    state = state_dir()
    token = _token(state)
    if admin_url is not None:
        if token is None:
            raise NoNode(f"set OUTLAST_ADMIN_TOKEN to the token of the server at {admin_url}")
        return Client(admin_url, token)
    node = place.find(state) if state is not None else None
    if node is None:
        raise NoNode(f"no server runs for {Path.cwd()} or a folder above it; {NOBODY}")
    if token is None:
        raise NoNode(f"{state}: holds no {place.TOKEN_FILE}; set OUTLAST_ADMIN_TOKEN")
    return Client(node.admin_url, token)


def state_dir() -> Path | None:
    """The state folder of the project that the current folder belongs to."""
    here = Path.cwd()
    folders = [folder / STATE for folder in (here, *here.parents)]
    # A node that has ended leaves its token behind.
    for file in (place.NODE_FILE, place.TOKEN_FILE):
        for folder in folders:
            if (folder / file).is_file():
                return folder
    return None


def _token(state: Path | None) -> str | None:
    if token := os.environ.get("OUTLAST_ADMIN_TOKEN"):
        return token
    if state is None:
        return None
    try:
        return place.read_token(state)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoNode(f"{error.filename}: {error.strerror}: it takes the user who started the server") from error


def quoted(id_: str) -> str:
    """Quotes an id for use in a path."""
    return quote(id_, safe="")


def connect(url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname or "", url.port, timeout=timeout_s)


@contextmanager
def answering(failure: Callable[[str], OutlastError]) -> Iterator[None]:
    """Raises what ``failure`` makes of the reason, if there is no complete answer."""
    try:
        yield
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        # UnicodeError: the host is no name that could be looked up.
        raise failure(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise NoNode(f"--admin-url: {url!r} is no URL of a server, such as http://127.0.0.1:54323")


def _refuse(response: http.client.HTTPResponse) -> NoReturn:
    body = response.read()
    try:
        message = msgspec.json.decode(body, type=dict[str, str])["message"]
    except (msgspec.MsgspecError, KeyError):
        raise NoNode(f"what answers there is no server of Outlast: {response.status} {response.reason}") from None
    if response.status == 401:
        raise NoNode("the server does not take this token: its own is in .outlast/admin-token of its project")
    raise Failed(message)
