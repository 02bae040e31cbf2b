"""A debugger attaches to TypeScript functions where that is asked for, and only there."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path

import httpx
import pytest
import websockets
from tests.support.node import Node, serving, write_project

FUNCTIONS = {name: f'Deno.serve(() => new Response("{name}"));\n' for name in ("hello", "other")}
CONFIG = """
[edge_runtime]
enabled = true
policy = "per_worker"
inspector_port = {port}
deno_version = 2
[functions.hello]
verify_jwt = false
[functions.other]
verify_jwt = false
"""


def two_ports() -> int:
    """A free port whose successor is free, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture
def port(tmp_path: Path) -> int:
    """That of the project in ``tmp_path``."""
    port = two_ports()
    write_project(tmp_path, FUNCTIONS, config=CONFIG.format(port=port))
    return port


async def answer(node: Node, name: str) -> str:
    async with httpx.AsyncClient(base_url=node.url, timeout=30) as client:
        return (await client.get(f"/functions/v1/{name}")).text


async def debugged(port: int) -> list[dict[str, str]]:
    """What a debugger is told of the worker that listens there. Raises httpx.ConnectError."""
    async with httpx.AsyncClient() as client:
        return list((await client.get(f"http://127.0.0.1:{port}/json")).json())


async def waiting(port: int) -> dict[str, str]:
    """The same of one that has no request yet, and so can only be asked for again and again."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                for about in await debugged(port):
                    return about
            await asyncio.sleep(0.02)


async def test_a_port_in_the_settings_alone_opens_none(tmp_path: Path, port: int) -> None:
    async with serving(tmp_path) as node:
        assert [await answer(node, name) for name in FUNCTIONS] == [*FUNCTIONS]
        with pytest.raises(httpx.ConnectError):
            await debugged(port)


async def test_each_function_has_a_port_also_after_a_change(tmp_path: Path, port: int) -> None:
    async with serving(tmp_path, "--inspect-mode=run") as node:
        assert [await answer(node, name) for name in FUNCTIONS] == [*FUNCTIONS]
        ports = {"hello": port, "other": port + 1}
        for name, there in ports.items():
            [about] = await debugged(there)
            assert about["url"].endswith(f"/{name}/index.ts")
            where = await node.wait_for("config", function=name)
            assert f"127.0.0.1:{there} " in where["msg"]
        before = await debugged(port)
        (tmp_path / "supabase/functions/hello/index.ts").write_text('Deno.serve(() => new Response("changed"));\n')
        await node.wait_for("retire", function="hello")
        assert await answer(node, "hello") == "changed"
        assert [about["id"] for about in await debugged(port)] != [about["id"] for about in before]


async def test_a_function_waits_for_its_debugger(tmp_path: Path, port: int) -> None:
    async with serving(tmp_path, "--inspect") as node:
        asked = asyncio.create_task(answer(node, "hello"))
        about = await waiting(port)
        assert not node.found("boot", function="hello")
        async with websockets.connect(about["webSocketDebuggerUrl"]) as debugger:
            await debugger.send(json.dumps({"id": 1, "method": "Runtime.runIfWaitingForDebugger"}))
            assert await asked == "hello"
