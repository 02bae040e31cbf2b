"""Where the public keys of an issuer of tokens are published."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.background import served


class KeyServer:
    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.answers: dict[str, tuple[int, bytes]] = {}
        """For some paths another answer."""
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                status, body = server.answers.get(self.path, server.answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def publish(self, *entries: dict[str, object]) -> None:
        """As an OpenID provider does."""
        self.answers = {
            "/.well-known/openid-configuration": (200, json.dumps({"jwks_uri": f"{self.url}/keys"}).encode()),
            "/keys": (200, json.dumps({"keys": entries}).encode()),
        }


@contextmanager
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    with served(server.http):
        yield server
