"""What `outlast` says to somebody who types it: one line for each mistake, never a traceback."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from tests.support.commands import Result, run, run_apart
from tests.support.node import DENO_DIR, serving, write_project

from outlast.admin.address import DEFAULT_PORT

OPTIONS = (
    *("DIR", "--host", "--port", "--admin-host", "--admin-port", "--admin-tls-cert", "--admin-tls-key"),
    *("--admin-allow-plain", "--policy", "--no-verify-jwt", "--env-file", "--log-format"),
    *("--log-level", "--database", "--graceful-exit-timeout", "--require-sandbox", "--no-sandbox", "--trust-proxy"),
)
HELLO = 'Deno.serve(() => new Response("hello"))'
PATIENCE_S = 30


def started(*arguments: str) -> Result:
    """Of a command that has begun to be a node: it runs in a process of its own."""
    return run_apart(sys.executable, "-m", "outlast", *arguments)


def complaint(*arguments: str, cwd: Path = Path()) -> str:
    """The one line on standard error that a command ends with."""
    return line_of(run(*arguments, cwd=cwd))


def line_of(result: Result) -> str:
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("outlast: ")
    assert result.err.endswith("\n")
    assert result.err.count("\n") == 1
    return result.err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"hello": HELLO})


class TestWhatIsWrongIsSaidInOneLine:
    @pytest.mark.parametrize("option", ["--port", "--admin-port"])
    def test_a_port_in_use(self, project: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = line_of(started("serve", str(project), "--port=0", "--admin-port=0", f"{option}={port}"))
        assert f"127.0.0.1:{port} is in use" in text
        assert option in text
        assert [*(project / ".outlast/nodes").iterdir()] == []

    def test_a_port_in_use_and_the_usual_admin_port_too(self, project: Path) -> None:
        with contextlib.ExitStack() as taking, socket.create_server(("127.0.0.1", 0)) as taken:
            with contextlib.suppress(OSError):
                taking.enter_context(socket.create_server(("127.0.0.1", DEFAULT_PORT)))
            assert "is in use" in line_of(started("serve", str(project), f"--port={taken.getsockname()[1]}"))

    def test_an_address_that_is_not_ours(self, project: Path) -> None:
        assert "192.0.2.1" in line_of(started("serve", str(project), "--host=192.0.2.1", "--port=0"))

    def test_a_name_that_is_no_address(self, project: Path) -> None:
        text = line_of(started("serve", str(project), "--host=no.such.invalid", "--port=0"))
        assert "no.such.invalid" in text
        assert "Unknown error" not in text

    def test_a_folder_that_is_not_there(self) -> None:
        assert "/no/such/folder" in complaint("serve", "/no/such/folder")

    def test_a_folder_without_functions(self, tmp_path: Path) -> None:
        text = complaint("serve", cwd=tmp_path)
        assert str(tmp_path) in text
        assert "index.ts" in text

    def test_a_functions_folder_without_functions(self, tmp_path: Path) -> None:
        (tmp_path / "supabase/functions").mkdir(parents=True)
        assert "supabase/functions" in complaint("serve", str(tmp_path))

    def test_a_file_that_is_no_function(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("")
        assert "notes.txt" in complaint("serve", str(tmp_path / "notes.txt"))

    def test_an_environment_file_that_is_not_there(self, project: Path) -> None:
        assert "none.env" in complaint("serve", str(project), "--env-file=none.env")

    @pytest.mark.parametrize(
        ("file", "text", "place"),
        [
            ("config.toml", "[edge_runtime]\npolicy = 'sometimes'\n", r"supabase/config\.toml:2: .*policy"),
            ("config.toml", "[edge_runtime\n", r"supabase/config\.toml:1"),
            ("config.toml", "[functions.hello]\nverify_jwt = 'yes'\n", r"supabase/config\.toml:2: .*verify_jwt"),
            ("outlast.toml", "\n[limits]\nboot_timeout_ms = -1\n", r"supabase/outlast\.toml:3: .*boot_timeout_ms"),
            ("outlast.toml", "limit = 1\n", r"supabase/outlast\.toml:1: .*limit"),
            ("functions/.env", "A=1\nnot a variable\n", r"supabase/functions/\.env:2"),
        ],
    )
    def test_a_mistake_in_a_file_with_its_place(self, project: Path, file: str, text: str, place: str) -> None:
        (project / "supabase" / file).write_text(text)
        assert re.search(place, complaint("serve", str(project)))

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [
            (["--port=x"], "--port: 'x' is not a whole number from 0 to 65535"),
            (["--port=-1"], "--port: '-1' is not a whole number from 0 to 65535"),
            (["--port=65536"], "--port: '65536' is not a whole number from 0 to 65535"),
            (["--port"], "--port"),
            (["--policy=never"], "--policy"),
            (["--log-format=xml"], "--log-format"),
            (["--log-level=loud"], "--log-level"),
            (["--graceful-exit-timeout=-1"], "--graceful-exit-timeout"),
            (["--graceful-exit-timeout=soon"], "--graceful-exit-timeout"),
            (["--database=mysql://localhost"], "--database"),
            (["--database=of"], "--database"),
            (["--no-such-option"], "--no-such-option"),
            (["--databse=off"], "did you mean --database?"),
            ([".", "too-many"], "too-many"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_an_option(self, arguments: list[str], option: str) -> None:
        text = complaint("serve", *arguments)
        assert option in text
        assert "--help" in text

    def test_a_command_that_does_not_exist(self) -> None:
        assert "frobnicate" in complaint("frobnicate")

    def test_a_disk_that_is_full_is_not_the_output(self, project: Path) -> None:
        script = """
import errno, tempfile
from outlast.cli import main
def mkdtemp(**where):
    raise OSError(errno.ENOSPC, "No space left on device", "/full/folder")
tempfile.mkdtemp = mkdtemp
main()
"""
        result = run_apart(sys.executable, "-c", script, "serve", str(project), "--port=0")
        assert result.err == "outlast: /full/folder: No space left on device\n"

    @pytest.mark.parametrize("command", ["serve", "tasks", "new hello --lang=ts"])
    def test_a_current_folder_that_is_gone(self, tmp_path: Path, command: str) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = f'rmdir "$PWD" && exec "{sys.executable}" -P -m outlast {command}'
        done = subprocess.run(["sh", "-c", script], cwd=gone, capture_output=True, text=True, timeout=PATIENCE_S)
        assert "the current folder is not there" in line_of(Result(done.returncode, done.stdout, done.stderr))


class TestHelp:
    def test_the_version(self) -> None:
        assert run("--version") == Result(0, f"outlast {version('outlast')}\n", "")

    def test_names_the_commands(self) -> None:
        result = run("--help")
        assert result.code == 0
        for command in ("serve", "demo"):
            assert command in result.out
        assert "see their background tasks through." in " ".join(result.out.split())

    def test_of_serve_names_every_option_in_full(self) -> None:
        result = run("serve", "--help", env={**os.environ, "COLUMNS": "80"})
        assert result.code == 0
        assert {*OPTIONS} <= {*result.out.split()}
        assert "[edge_runtime]" in result.out

    @pytest.mark.parametrize("command", [[], ["serve"], ["tasks"], ["tasks", "show"]])
    def test_has_a_short_option_and_whole_sentences(self, command: list[str]) -> None:
        result = run(*command, "-h", env={**os.environ, "COLUMNS": "80"})
        assert result == run(*command, "--help", env={**os.environ, "COLUMNS": "80"})
        assert result.code == 0
        assert re.search(r"[^]]\.\.\.", result.out) is None

    def test_without_a_command_is_shown_too(self) -> None:
        result = run()
        assert result.code == 2
        assert "serve" in result.out + result.err
        assert "Traceback" not in result.err


class TestTheReadyLine:
    async def test_in_json(self, project: Path) -> None:
        async with serving(project) as node:
            ready = node.found("ready")[0]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ready["url"])
            assert node.address[1] > 0
            assert {"ts", "level"} < ready.keys()
            async with httpx.AsyncClient(base_url=node.url) as client:
                assert (await client.get("/hello")).text == "hello"

    async def test_of_a_host_that_means_all(self, project: Path) -> None:
        async with serving(project, "--host=0.0.0.0") as node:
            assert node.url.startswith("http://127.0.0.1:")

    @pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
    @pytest.mark.parametrize("host", ["::1", "::"])
    async def test_of_an_ipv6_address(self, project: Path, host: str) -> None:
        async with serving(project, f"--host={host}") as node, httpx.AsyncClient(base_url=node.url) as client:
            assert node.url.startswith("http://[::1]:")
            assert (await client.get("/hello")).text == "hello"

    def test_on_a_terminal_it_is_one_to_read(self, project: Path) -> None:
        with on_a_terminal("serve", str(project), "--port=0", "--database=off") as (process, terminal):
            seen = read_until(terminal, r"http://127\.0\.0\.1:(\d+)")
            assert "{" not in seen
            assert "\x1b[" in seen, "colours"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0

    @pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
    def test_on_a_terminal_without_colours(self, project: Path, environ: dict[str, str]) -> None:
        with on_a_terminal("serve", str(project), "--port=0", "--database=off", **environ) as (_, terminal):
            assert "\x1b" not in read_until(terminal, r"listening on")

    def test_ctrl_c_on_a_terminal_ends_it_gracefully(self, project: Path) -> None:
        with on_a_terminal("serve", str(project), "--port=0", "--database=off", "--log-format=json", NO_COLOR="1") as (
            process,
            terminal,
        ):
            port = re.search(r"\"url\":\S+?:(\d+)\"", read_until(terminal, r"ready.*\n"))
            assert port is not None
            assert httpx.get(f"http://127.0.0.1:{port[1]}/hello").text == "hello"
            os.write(terminal, b"\x03")
            end = read_until(terminal, r"\"event\":\"shutdown\".*\n")
            assert '"reason":"termination"' in end
            assert process.wait(PATIENCE_S) == 0

    def test_a_terminal_that_is_closed_ends_it_gracefully(self, project: Path) -> None:
        with on_a_terminal("serve", str(project), "--port=0", "--database=off") as (process, terminal):
            read_until(terminal, r"listening on")
            os.dup2(os.open(os.devnull, os.O_RDONLY), terminal)
            assert process.wait(PATIENCE_S) == 0


@contextlib.contextmanager
def on_a_terminal(*arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLED, *arguments],
        env={**environ, "DENO_DIR": str(DENO_DIR), "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


CONTROLLED = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from outlast.cli import main
main()
"""


def read_until(terminal: int, pattern: str) -> str:
    seen = ""
    while re.search(pattern, seen) is None:
        seen += os.read(terminal, 65536).decode()
    return seen


class TestWhereTheLogGoes:
    async def test_to_a_pipe_that_is_closed_is_no_reason_to_end(self, project: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "outlast",
                "serve",
                str(project),
                "--port=0",
                "--database=off",
                "--log-format=json",
            ),
            env={**os.environ, "DENO_DIR": str(DENO_DIR)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        while (entry := json.loads(await process.stdout.readline()))["event"] != "ready":
            pass
        process.stdout._transport.close()  # type: ignore[attr-defined]
        async with httpx.AsyncClient(base_url=entry["url"], timeout=PATIENCE_S) as client:
            for _ in range(3):
                assert (await client.get("/hello")).text == "hello"
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        assert await process.stderr.read() == b""

    async def test_to_nothing_at_all_is_no_reason_either(self, tmp_path: Path) -> None:
        """Its number must not become a socket's."""
        source = "console.log('said'); Deno.serve(() => new Response('hello'))"
        project = write_project(tmp_path, {"hello": source})
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = f'exec "$0" -m outlast serve "$1" --port={port} --database=off <&- >&- 2>&-'
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command, sys.executable, str(project)), env={**os.environ, "DENO_DIR": str(DENO_DIR)}
        )
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            while process.returncode is None:
                with contextlib.suppress(httpx.ConnectError):
                    assert (await client.get(f"http://127.0.0.1:{port}/hello")).text == "hello"
                    break
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0

    def test_to_a_full_disk_is_no_reason_to_end_either(self, project: Path) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Path("/dev/full").open("wb") as full:
            process = subprocess.Popen(
                [sys.executable, "-m", "outlast", "serve", str(project), f"--port={port}", "--database=off"],
                env={**os.environ, "DENO_DIR": str(DENO_DIR)},
                stdout=full,
                stderr=subprocess.PIPE,
            )
        try:
            assert httpx.Client(transport=Patient()).get(f"http://127.0.0.1:{port}/hello").text == "hello"
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        assert (process.returncode, err) == (0, b"")


class Patient(httpx.HTTPTransport):
    """Asks until somebody listens: without a log, nothing else tells when."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        while True:
            try:
                return super().handle_request(request)
            except httpx.ConnectError:
                continue


class TestTheAdminApi:
    async def test_listens_on_another_port_where_the_usual_one_is_taken(self, project: Path) -> None:
        with contextlib.ExitStack() as taking:
            with contextlib.suppress(OSError):
                # Whoever has it already does as well.
                taking.enter_context(socket.create_server(("127.0.0.1", DEFAULT_PORT)))
            async with serving(project, "--admin-host=localhost") as node:
                [ready] = node.found("ready")
                [told] = node.found("config", level="info")
                assert told["msg"].endswith(ready["admin_url"])
                assert str(DEFAULT_PORT) not in ready["admin_url"]

    async def test_is_not_spoken_of_otherwise(self, project: Path) -> None:
        async with serving(project) as node:
            assert not node.found("config")


async def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "lonely.ts").write_text(HELLO)
    async with (
        serving(tmp_path / "lonely.ts", "--no-verify-jwt") as node,
        httpx.AsyncClient(base_url=node.url, timeout=PATIENCE_S) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        assert (await client.get("/functions/v1/lonely")).text == "hello"
        (tmp_path / "lonely.ts").write_text(HELLO.replace("hello", "changed"))
        while (await client.get("/functions/v1/lonely")).text != "changed":
            pass


async def test_the_log_level(project: Path) -> None:
    """Programs wait for the ready line, whatever else they want to read."""
    async with serving(project, "--log-level=warning") as node:
        assert await node.stop() == 0
    assert [event["event"] for event in node.events] == ["ready"]
