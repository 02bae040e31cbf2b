"""A node that systemd starts: here its side of sd_notify(3) and sd_listen_fds(3) is played with the same sockets."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import httpx
import pytest
from tests.support.node import serving, write_project

HELLO = 'Deno.serve(() => new Response("hello"))'
SLOW = """
Deno.serve(async () => {
  console.log("begun");
  await new Promise((resolve) => setTimeout(resolve, 500));
  return new Response("slow");
});
"""


def given(*passed: IO[str] | socket.socket) -> tuple[Sequence[str], Sequence[int]]:
    """A launcher that passes these on as systemd does, and the files that it inherits."""
    files = [each.fileno() for each in passed]
    # Numbers that are free and beyond the targets, so that none is overwritten before it is copied.
    moved = " ".join(f"{20 + index}<&{file}" for index, file in enumerate(files))
    placed = " ".join(f"{3 + index}<&{20 + index}" for index in range(len(files)))
    script = f'exec {moved}; exec {placed}; LISTEN_FDS={len(files)} LISTEN_PID=$$ exec "$@"'
    return ["bash", "-c", script, "bash"], files


def refusal(project: Path, *passed: IO[str] | socket.socket) -> str:
    launcher, files = given(*passed)
    command = [*launcher, sys.executable, "-m", "outlast", "serve", str(project), "--port=0", "--admin-port=0"]
    result = subprocess.run(command, pass_fds=files, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 2, result
    return result.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"hello": HELLO})


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.setblocking(False)
        yield told


async def news(told: socket.socket) -> list[str]:
    message = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(told, 4096), 20)
    return message.decode().split("\n")


class TestNotifications:
    async def test_ready_and_stopping(self, tmp_path: Path, notified: socket.socket) -> None:
        asked = "Deno.serve(() => Response.json(Object.keys(Deno.env.toObject())))"
        project = write_project(tmp_path, {"asked": asked})
        env = {"NOTIFY_SOCKET": notified.getsockname()}
        async with serving(project, "--graceful-exit-timeout=7", env=env) as node, httpx.AsyncClient() as client:
            assert await news(notified) == ["READY=1", f"STATUS=serving at {node.url}"]
            assert "NOTIFY_SOCKET" not in (await client.get(f"{node.url}/asked")).json()
            node.process.send_signal(signal.SIGTERM)
            state, _, extended = await news(notified)
            assert state == "STOPPING=1"
            name, microseconds = extended.split("=")
            assert name == "EXTEND_TIMEOUT_USEC"
            assert int(microseconds) > 7_000_000

    async def test_a_timeout_without_end(self, project: Path, notified: socket.socket) -> None:
        env = {"NOTIFY_SOCKET": notified.getsockname()}
        async with serving(project, "--graceful-exit-timeout=inf", env=env) as node:
            await news(notified)
            assert await node.stop() == 0
            assert (await news(notified))[0] == "STOPPING=1"

    async def test_a_socket_without_a_path(self, project: Path, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind("\0outlast-test-" + tmp_path.name)
            told.setblocking(False)
            name = told.getsockname().decode().replace("\0", "@")
            async with serving(project, env={"NOTIFY_SOCKET": name}):
                assert (await news(told))[0] == "READY=1"

    async def test_nobody_listens(self, project: Path, tmp_path: Path) -> None:
        async with serving(project, env={"NOTIFY_SOCKET": str(tmp_path / "gone")}) as node:
            await node.wait_for("config", level="warning", msg=lambda text: "NOTIFY_SOCKET" in text)


class TestPassedSocket:
    async def test_it_is_served_on(self, project: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as opened:
            launcher, files = given(opened)
            async with serving(project, launcher=launcher, files=files) as node, httpx.AsyncClient() as client:
                assert node.address == opened.getsockname()
                assert (await client.get(f"{node.url}/hello")).text == "hello"

    async def test_a_restart_refuses_nobody(self, tmp_path: Path) -> None:
        """While one node finishes its requests, new ones wait for the next node."""
        project = write_project(tmp_path, {"slow": SLOW, "hello": HELLO})
        with socket.create_server(("127.0.0.1", 0)) as opened:
            launcher, files = given(opened)
            async with contextlib.AsyncExitStack() as clients:
                client = await clients.enter_async_context(httpx.AsyncClient(timeout=30))
                async with serving(project, launcher=launcher, files=files) as node:
                    running = asyncio.create_task(client.get(f"{node.url}/slow"))
                    await node.wait_for("log", msg="begun")
                    node.process.send_signal(signal.SIGTERM)
                    await node.process.wait()
                    assert (await running).text == "slow"
                    waiting = asyncio.create_task(client.get(f"{node.url}/hello"))
                async with serving(project, launcher=launcher, files=files):
                    assert (await waiting).text == "hello"

    async def test_one_for_another_process(self, project: Path) -> None:
        async with serving(project, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as node, httpx.AsyncClient() as client:
            assert (await client.get(f"{node.url}/hello")).text == "hello"

    def test_more_than_one(self, project: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            assert "passed 2 sockets" in refusal(project, one, other)

    def test_one_that_does_not_listen(self, project: Path) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            assert "does not listen on a TCP port" in refusal(project, datagrams)

    def test_one_of_another_family(self, project: Path, notified: socket.socket) -> None:
        assert "does not listen on a TCP port" in refusal(project, notified)

    def test_a_file(self, project: Path, tmp_path: Path) -> None:
        with (tmp_path / "file").open("w") as file:
            assert "passed no socket" in refusal(project, file)


class TestTokensThatAnyoneCanMake:
    """The secret of local projects is public: fine for whoever develops, but not for a server that others reach."""

    @pytest.mark.parametrize(
        ("arguments", "env", "is_warned"),
        [
            (["--host=0.0.0.0"], {}, True),
            (["--trust-proxy"], {}, True),
            (["--host=0.0.0.0"], {"SUPABASE_JWT_SECRET": "a secret of our own, and long"}, False),
            ([], {}, False),
        ],
    )
    async def test_warning(self, tmp_path: Path, arguments: list[str], env: dict[str, str], is_warned: bool) -> None:
        project = write_project(tmp_path, {"hello": HELLO}, config="[functions.hello]\nverify_jwt = true\n")
        async with serving(project, *arguments, env=env) as node:
            warned = node.found("config", level="warning", msg=lambda text: "SUPABASE_JWT_SECRET" in text)
            assert len(warned) == is_warned
