"""Package indexes on this machine, not all of which are for everybody."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.background import served

USER, PASSWORD = "ada", "s3cret-of-ada"
_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Registry(ThreadingHTTPServer):
    """Each folder with wheels in ``folder`` is an index; `closed` is for Ada alone, and `barred` lets nobody in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder

    def url(self, index: str, *, user: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{user}{'@' * bool(user)}{host}:{self.server_port}/{index}/simple/"

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        index, kind, name = path.strip("/").split("/")
        if index == "closed" and authorization != _AUTHORIZATION:
            return 401, b""
        if index == "barred":
            return 403, b""
        if kind == "files":
            return 200, (self.folder / index / name).read_bytes()
        found = sorted(file.name for file in (self.folder / index).glob(f"{name}-*.whl"))
        links = "".join(f'<a href="../../files/{file}">{file}</a>' for file in found)
        return (200 if found else 404), f"<!DOCTYPE html><html><body>{links}</body></html>".encode()

    def handle_error(self, *_: object) -> None:
        """uv leaves when it has seen enough."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        status, body = self.server.answer(self.path, self.headers["authorization"])
        self.send_response(status)
        self.send_header("content-type", "text/html" if body[:1] == b"<" else "application/octet-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nobody wants to read of it."""


@contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    registry = Registry(folder)
    with served(registry):
        yield registry
