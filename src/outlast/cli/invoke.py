"""``outlast invoke``"""

import http.client
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click

from outlast.cli import client, parameters, story
from outlast.cli.client import Client
from outlast.cli.columns import console
from outlast.cli.exits import Failed
from outlast.cli.lines import duration, object_line, one_line
from outlast.core.errors import OutlastError

ANSWER_TIMEOUT_S = 600.0
"""Longer than a function may be silent by default."""
_FIELD = re.compile(r"\s*([!-9;-~]+)\s*:(.*)", re.DOTALL)
_OF_URLS = "%/?#[]@!$&'()*+,;=:"


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--data", "-d", help="The body: text, @FILE, or - for standard input.")
@click.option("--header", "-H", multiple=True, help="'Name: value'; may be repeated.")
@click.option("--method", "-X", help="The HTTP method.", show_default="POST with --data, GET without")
@click.option("--wait", is_flag=True, help="Wait until its background tasks have settled.")
@parameters.as_json
@parameters.admin_url
def invoke(
    name: str,
    data: str | None,
    header: Sequence[str],
    method: str | None,
    wait: bool,
    as_json: bool,
    admin_url: str | None,
) -> None:
    """Call a function and print its response. If the function checks tokens, the project's anon key is sent.

    NAME: the function; a path and a query may follow: hello/a?b=1.

    Exit code 1 if the status is 400 or above, or if a task that was waited for was not fulfilled.
    """
    function = re.split("[/?]", name)[0]
    if not function:
        raise click.BadParameter(f"{name!r} does not begin with a function's name", param_hint="NAME")
    node = client.find(admin_url)
    about = node.get("/v1/node")
    body = _body(data)
    fields = _fields(header)
    verifies = node.get(f"/v1/functions/{client.quoted(function)}")["verify_jwt"]
    if verifies and not any(field.lower() == "authorization" for field, _ in fields):
        fields.append(("authorization", f"Bearer {about['anon_key']}"))
    if body is not None and not any(field.lower() == "content-type" for field, _ in fields):
        fields.append(("content-type", "application/json" if _looks_like_json(body) else "text/plain; charset=utf-8"))
    method = method or ("GET" if body is None else "POST")
    url = f"{about['url']}/functions/v1/{quote(name, safe=_OF_URLS)}"
    answer = _call(url, method, fields, body, as_json=as_json, more_follows=wait)
    is_well = answer["status"] < 400
    if as_json:
        object_line(answer)
    if wait and answer["request_id"]:
        is_well = _wait(node, answer["request_id"], as_json) and is_well
    sys.exit(not is_well)


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{data[1:]}: {error.strerror}", param_hint="--data") from error
    return data.encode("utf-8", "surrogateescape")


def _fields(given: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for text in given:
        if (field := _FIELD.fullmatch(text)) is None:
            raise click.BadParameter(f"{text!r} is not of the form 'Name: value'", param_hint="--header")
        found.append((field[1], field[2].strip()))
    return found


def _looks_like_json(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[")


def _call(
    url: str, method: str, fields: list[tuple[str, str]], body: bytes | None, *, as_json: bool, more_follows: bool
) -> dict[str, Any]:
    """Calls the function. Prints the body as it comes, unless it will be part of a JSON object."""
    parts = urlsplit(url)
    began = time.perf_counter()

    def no_response(why: str) -> Failed:
        return Failed(f"no complete response from {url}: {why}")

    with closing(client.connect(parts, ANSWER_TIMEOUT_S)) as connection:
        with client.answering(no_response):
            _send(connection, method, parts.path + (f"?{parts.query}" if parts.query else ""), fields, body)
            response = connection.getresponse()
        first_byte_ms = (time.perf_counter() - began) * 1000
        told: dict[str, Any] = {
            "status": response.status,
            "request_id": response.getheader("sb-request-id"),
            "execution_id": response.getheader("x-sb-execution-id"),
            "first_byte_ms": round(first_byte_ms, 2),
        }
        pieces = _pieces(response, no_response)
        if as_json:
            told["body"] = b"".join(pieces).decode("utf-8", "replace")
        else:
            _print_as_they_come(pieces, more_follows=more_follows)
    if not as_json:
        shown = f"{response.status} {response.reason}, first byte after {duration(first_byte_ms)}"
        console(stderr=True).print(f"{shown}, request {told['request_id']}", style="dim")
    return told


def _send(
    connection: http.client.HTTPConnection, method: str, target: str, fields: list[tuple[str, str]], body: bytes | None
) -> None:
    try:
        connection.putrequest(method, target)
        for field, value in fields:
            connection.putheader(field, value.encode())
        if body is not None:
            connection.putheader("content-length", str(len(body)))
    except (ValueError, http.client.InvalidURL) as error:
        raise OutlastError(f"cannot be sent: {error}") from error
    connection.endheaders(body)


def _pieces(response: http.client.HTTPResponse, failure: Callable[[str], OutlastError]) -> Iterator[bytes]:
    with client.answering(failure):
        while piece := response.read1(65_536):
            yield piece
        if response.length:
            # For `read1`, the end of the connection is that of the response.
            raise http.client.IncompleteRead(b"", response.length)


def _print_as_they_come(pieces: Iterator[bytes], *, more_follows: bool) -> None:
    last = b""
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        last = piece
    if last and not last.endswith(b"\n") and (sys.stdout.isatty() or more_follows):
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def _wait(node: Client, request_id: str, as_json: bool) -> bool:
    """Prints the outcome of each task as it settles. Returns whether all were fulfilled."""
    told: set[str] = set()
    is_well = True
    with node.live(event="task", request=request_id) as events, _Progress() as progress:
        node.catch_up()
        while True:
            # Queried again after each one that settles, because a task may have started others.
            tasks = node.get("/v1/tasks", request=request_id, limit=1000)["items"][::-1]
            for task in tasks:
                if task["outcome"] is not None and task["id"] not in told:
                    told.add(task["id"])
                    is_well = is_well and task["outcome"] == "fulfilled"
                    progress.clear()
                    _tell(task, as_json)
            still_open = [task for task in tasks if task["outcome"] is None]
            if not still_open:
                return is_well
            progress.show(still_open)
            if next(events, None) is None:
                raise Failed(f"the server ended before all tasks of request {request_id} had settled")


def _tell(task: dict[str, Any], as_json: bool) -> None:
    if as_json:
        object_line(task)
        return
    out = console()
    name = one_line(task["name"] or task["id"])
    out.print(f"{name}: {story.outcome(task)} after {duration(task['ms'])}")
    for line in story.why(task):
        if line:
            out.print(f"  {one_line(line)}")


class _Progress:
    """On a terminal, one line that names the tasks being waited for."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._status = self._console.status("")
        self._is_shown = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, tasks: list[dict[str, Any]]) -> None:
        if self._console.is_terminal:
            names = ", ".join(one_line(task["name"] or "a task without a name") for task in tasks[:5])
            self._status.update(f"waiting for {len(tasks)}: {names}".replace("[", "\\["))
            self._status.start()
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            self._status.stop()
            self._is_shown = False
