"""An npm registry that has packages of any name."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.support.background import served

VERSIONS = ("1.0.0", "1.2.0", "2.0.0")
READING = (
    "import { readFileSync } from 'node:fs';\n"
    "export const told = readFileSync(new URL('./data.txt', import.meta.url), 'utf8');\n"
)


@contextmanager
def npm_registry(heard: list[str], scripts: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yields its address; notes who asks for what.

    Each package has these ``VERSIONS``, and these ``scripts``. What is imported from one, or from its ``part.js``, is
    ``told``: the package, its version, and the registry's address. Its ``data.js`` has the same from its ``data.txt``.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            heard.append(f"{path} {self.headers['authorization']}")
            name, _, tarball = path.removeprefix("/").partition("/-/")
            body = packed(name, tarball) if tarball else json.dumps(packument(name)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody wants to read of it."""

    def manifest(name: str, version: str) -> dict[str, object]:
        return {"name": name, "version": version, "type": "module", "scripts": scripts or {}}

    def packed(name: str, version: str) -> bytes:
        text = f"{name} {version} of {address}"
        told = f'export const told = "{text}";\n'
        files = {"index.js": told, "part.js": f"// A part.\n{told}", "data.js": READING, "data.txt": text}
        return _tarball({"package.json": json.dumps(manifest(name, version)), **files})

    def packument(name: str) -> dict[str, object]:
        return {"name": name, "dist-tags": {"latest": VERSIONS[-1]}, "versions": {v: entry(name, v) for v in VERSIONS}}

    def entry(name: str, version: str) -> dict[str, object]:
        digest = base64.b64encode(hashlib.sha512(packed(name, version)).digest()).decode()
        dist = {"tarball": f"http://{address}/{name}/-/{version}", "integrity": f"sha512-{digest}"}
        return {**manifest(name, version), "hasInstallScript": bool(scripts), "dist": dist}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"127.0.0.1:{server.server_port}"
    with served(server):
        yield address


def _tarball(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)
