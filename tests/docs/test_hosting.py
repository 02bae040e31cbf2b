"""What docs/hosting.md shows works: the options of its commands, systemd's units, the proxies' configuration."""

import asyncio
import contextlib
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.support.certificates import self_signed
from tests.support.collector import free_port
from tests.support.node import serving, write_project
from websockets.asyncio.client import connect

from outlast.cli.serve import serve

TEXT = (Path(__file__).parents[2] / "docs" / "hosting.md").read_text()
UNITS = dict(re.findall(r"^`/etc/systemd/system/([\w.-]+)`\n\n```ini\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
SHOPFRONT = """
let finish = () => {};

Deno.serve((request) => {
  switch (new URL(request.url).pathname) {
    case "/shop/fields":
      return Response.json(Object.fromEntries(request.headers));
    case "/shop/stream":
      return new Response(new ReadableStream({
        start(controller) {
          controller.enqueue("first");
          finish = () => { controller.enqueue("last"); controller.close(); };
        },
      }).pipeThrough(new TextEncoderStream()));
    case "/shop/finish":
      finish();
      return new Response();
    default: {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(data);
      return response;
    }
  }
});
"""


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def options(words: list[str]) -> dict[str, object]:
    """How `outlast serve` understands the words of this command line. Raises for those that it does not."""
    [*_, program, command] = words[: words.index("serve") + 1]
    assert (Path(program).name, command) == ("outlast", "serve")
    return serve.make_context("serve", words[words.index("serve") + 1 :]).params


class TestSystemd:
    def test_the_options_of_the_unit(self) -> None:
        [command] = re.findall(r"^ExecStart=(.*)$", UNITS["outlast-shop.service"], re.MULTILINE)
        given = options(shlex.split(command))
        assert given["graceful_exit_timeout"] == 60

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
    def test_systemd_takes_the_units(self, tmp_path: Path) -> None:
        for name, text in UNITS.items():
            # It looks whether the program exists.
            (tmp_path / name).write_text(text.replace("/srv/outlast/bin/outlast", sys.executable))
        command = ["systemd-analyze", "verify", "--recursive-errors=no", *(tmp_path / name for name in UNITS)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (result.returncode, result.stderr) == (0, "")


def test_the_options_in_the_container() -> None:
    [words] = re.findall(r"^CMD \[(.*)\]$", block("dockerfile"), re.MULTILINE)
    assert options(shlex.split(words.replace(",", " ")))["host"] == "0.0.0.0"


class TestProxies:
    """As the page sets them up, but for names, ports and certificates."""

    @pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
    async def test_nginx(self, tmp_path: Path) -> None:
        certificate = self_signed(tmp_path)
        async with self._shop(tmp_path) as upstream:
            port = free_port()
            text = block("nginx").replace("127.0.0.1:54321", upstream)
            text = re.sub(r"listen 443", f"listen 127.0.0.1:{port}", text)
            text = re.sub(r"/etc/ssl/functions\.\w+", str(certificate), text)
            # Of nginx's own: where root starts it, it gives them to another user.
            folders = "".join(f"{each}_temp_path {tmp_path}/nginx-{each};" for each in ("client_body", "proxy"))
            config = tmp_path / "nginx.conf"
            config.write_text(
                f"daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
                f"http {{ access_log off; {folders}\n{text}\n}}"
            )
            await self._check(["nginx", "-e", "stderr", "-p", tmp_path, "-c", config], port, certificate)

    @pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
    async def test_caddy(self, tmp_path: Path) -> None:
        async with self._shop(tmp_path) as upstream:
            port = free_port()
            [text] = re.findall(r"^```\n(functions\.example\.com .*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
            text = text.replace("127.0.0.1:54321", upstream).replace(
                "functions.example.com", f"http://127.0.0.1:{port}"
            )
            config = tmp_path / "Caddyfile"
            config.write_text(f"{{\n\tadmin off\n\tstorage file_system {tmp_path}\n}}\n{text}")
            await self._check(["caddy", "run", "--config", config, "--adapter", "caddyfile"], port)

    @contextlib.asynccontextmanager
    async def _shop(self, folder: Path) -> AsyncIterator[str]:
        async with serving(write_project(folder, {"shop": SHOPFRONT}), "--trust-proxy", "--no-verify-jwt") as node:
            yield node.url.removeprefix("http://")

    async def _check(self, command: list[str | Path], port: int, certificate: Path | None = None) -> None:
        scheme, tls = ("https", ssl.create_default_context(cafile=certificate)) if certificate else ("http", None)
        proxy = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        url = f"{scheme}://127.0.0.1:{port}/shop"
        try:
            transport = httpx.AsyncHTTPTransport(verify=tls or False, retries=5)
            async with httpx.AsyncClient(transport=transport, timeout=10) as client:
                fields = (await client.get(f"{url}/fields")).json()
                assert fields["x-forwarded-proto"] == scheme
                assert fields["x-forwarded-for"].startswith("127.0.0.1")
                assert "127.0.0.1" in fields["x-forwarded-host"]
                async with client.stream("GET", f"{url}/stream") as response:
                    chunks = response.aiter_text()
                    assert await anext(chunks) == "first"
                    await client.get(f"{url}/finish")
                    assert await anext(chunks) == "last"
            address = url.replace("http", "ws", 1)
            async with connect(address, ssl=tls) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"
        finally:
            with contextlib.suppress(ProcessLookupError):
                proxy.terminate()
            await proxy.communicate()
