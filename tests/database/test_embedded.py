"""The server of a project's own: there soon, never twice, gone with its node."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from tests.support.postgres import connected

from outlast.database import embedded
from outlast.database.connections import Database
from outlast.database.embedded import EmbeddedServer, EmbeddedServerError
from outlast.database.place import HOST, OWNER, Folder

PATIENCE_S = 30
NAMELESS = 4321
"""The number of a user who is not in /etc/passwd."""


@contextlib.asynccontextmanager
async def running(folder: Path, on_moved: Callable[[], None] = lambda: None) -> AsyncIterator[EmbeddedServer]:
    reports: list[str] = []
    server = EmbeddedServer(folder, reports.append, on_moved)
    server.reports = reports  # type: ignore[attr-defined]
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert server.pid is None


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; each test runs the server in it anew."""
    folder = tmp_path_factory.mktemp("project") / ".outlast" / "pg"
    async with running(folder) as server:
        connection = await connected(lambda: server.ledger_url)
        await connection.execute("alter system set fsync = off")
        await connection.close()
    return folder


async def refused(url: str) -> None:
    with pytest.raises(OSError):
        await asyncpg.connect(url)


async def test_functions_have_a_database_of_their_own_and_no_way_out_of_it(folder: Path) -> None:
    async with running(folder) as server:
        connection = await connected(lambda: server.functions_url)
        assert await connection.fetchval("select current_database() || ' ' || current_user") == "postgres postgres"
        await connection.execute("create table if not exists public.things (a int); create schema if not exists mine")
        for statement in (
            "copy public.things from program 'echo 1'",
            "create role outlast_2 superuser",
            "alter role outlast password 'mine'",
            "select pg_read_file('/etc/passwd')",
            "alter system set fsync = off",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()
        base, _, _ = server.functions_url.rpartition("/")
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(f"{base}/outlast")


def test_the_passwords_are_their_owners_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "place.json").stat().st_mode) == 0o600


async def test_it_is_started_again_when_it_is_killed(folder: Path) -> None:
    async with running(folder) as server:
        await (await connected(lambda: server.ledger_url)).close()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while server.pid in (None, pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await (await connected(lambda: server.ledger_url)).close()
        assert any("tries again" in report for report in server.reports)  # type: ignore[attr-defined]
    await refused(server.ledger_url)


async def test_variables_that_are_meant_for_another_server_do_not_concern_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"HOST": "db.example.com", "PORT": "1", "USER": "ada", "DATABASE": "shop", "PASSWORD": "no"}
    for name, value in {**elsewhere, "SSLMODE": "require", "TARGETSESSIONATTRS": "standby"}.items():
        monkeypatch.setenv(f"PG{name}", value)
    prepare, prepared = EmbeddedServer._make_missing, asyncio.Event()

    async def make_missing(self: EmbeddedServer, connection: "asyncpg.Connection") -> None:
        await prepare(self, connection)
        prepared.set()

    monkeypatch.setattr(EmbeddedServer, "_make_missing", make_missing)
    async with running(folder) as server:
        await asyncio.wait_for(prepared.wait(), PATIENCE_S)
        await (await Database(lambda: server.ledger_url).connect()).close()


async def test_errors_of_functions_do_not_fill_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MOST_LOG_BYTES", 100_000)
    monkeypatch.setattr(embedded, "LOOK_AT_LOG_EVERY_S", 0.01)
    async with running(folder) as server:
        connection = await connected(lambda: server.functions_url)
        long = size = 0
        while size >= long:
            long = size
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute(f"select '{'long' * 1_000}' from nowhere")
            size = (folder / "log").stat().st_size
            assert size < 1_000_000
        with pytest.raises(asyncpg.UndefinedColumnError):
            await connection.execute("select after_that")
        await connection.close()
        text = (folder / "log").read_text()
        assert "after_that" in text
        assert "\0" not in text


async def test_a_second_node_uses_it_and_takes_over(folder: Path) -> None:
    async with contextlib.AsyncExitStack() as first_node:
        first = await first_node.enter_async_context(running(folder))
        await (await connected(lambda: first.ledger_url)).close()
        async with running(folder) as other:
            assert other.functions_url == first.functions_url
            assert other.pid is None
            await first_node.aclose()
            async with asyncio.timeout(PATIENCE_S):
                while other.pid is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await (await connected(lambda: other.ledger_url)).close()
        assert other.reports == []  # type: ignore[attr-defined]


NODE = """
import asyncio, sys
from pathlib import Path
from outlast.database.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), print)
asyncio.run(server.run())
"""


async def test_of_a_node_that_was_killed_none_is_left(folder: Path) -> None:
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, str(folder), stdin=DEVNULL, stdout=PIPE)
    url = Folder(folder).place().url(OWNER)
    try:
        connection = await connected(url)
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
    finally:
        node.kill()
        await node.wait()
    if sys.platform == "linux":
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
    async with running(folder) as server:
        await (await connected(lambda: server.ledger_url)).close()
        assert server.pid is not None
    await connection.close(timeout=1)


async def test_one_that_is_left_over_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a killed node leaves it, where the system does not end it."""
    async with running(folder) as former:
        await (await connected(former.ledger_url)).close()
        left_over = former.pid
        # Who is killed starts nothing again.
        monkeypatch.setattr(former, "_launch", asyncio.Event().wait)
        former._folder.unlock()
        async with running(folder) as server:
            async with asyncio.timeout(PATIENCE_S):
                while server.pid is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await (await connected(lambda: server.ledger_url)).close()
            assert server.pid != left_over


async def test_a_number_that_is_another_process_by_now_is_no_server(folder: Path) -> None:
    (folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    async with running(folder) as server:
        await (await connected(lambda: server.ledger_url)).close()


def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_port_that_is_taken_is_given_up(folder: Path) -> None:
    port = Folder(folder).place().port
    taken = await asyncio.start_server(hang_up, HOST, port)
    async with taken, running(folder) as server:
        assert server._place.port != port
        await (await connected(lambda: server.functions_url)).close()


async def test_a_port_that_is_taken_meanwhile_is_given_up_too(folder: Path) -> None:
    moved = asyncio.Event()
    async with running(folder, moved.set) as server:
        before = server.functions_url
        # It is not running yet.
        taken = await asyncio.start_server(hang_up, HOST, server._place.port)
        async with taken:
            await asyncio.wait_for(moved.wait(), PATIENCE_S)
            assert server.functions_url != before
            await (await connected(lambda: server.functions_url)).close()
        assert server.reports == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["9", "16"])
def test_data_of_a_version_that_cannot_be_run_are_left_alone(tmp_path: Path, version: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text(f"{version}\n")
    with pytest.raises(EmbeddedServerError, match=f"{data} was made by PostgreSQL {version}, .* move that folder away"):
        EmbeddedServer(tmp_path, print)


@pytest.mark.parametrize(
    ("file", "why", "remedy"),
    [
        ("PG_VERSION", '" is not a valid data directory. File "', "move {data} away"),
        ("pg_ident.conf", "{data} holds no data of PostgreSQL", "move it away"),
    ],
)
async def test_data_that_cannot_be_used_are_told_of_once_and_made_anew_when_they_are_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, why: str, remedy: str
) -> None:
    # However long an attempt takes: the server never ran.
    monkeypatch.setattr(embedded, "LIVED_LONG_S", 0.0)
    monkeypatch.setattr(embedded, "LONGEST_PAUSE_S", 0.1)
    make_data, tries = EmbeddedServer._make_data, asyncio.Semaphore(0)

    async def make_and_count(self: EmbeddedServer) -> None:
        tries.release()
        await make_data(self)

    monkeypatch.setattr(EmbeddedServer, "_make_data", make_and_count)
    data = tmp_path / "pg" / "data"
    data.mkdir(0o700, parents=True)
    (data / "postgresql.conf").touch()
    (data / file).write_bytes(b"\xff")
    async with running(tmp_path / "pg") as server:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(4):
                await tries.acquire()
        [report] = server.reports  # type: ignore[attr-defined]
        assert why.format(data=data) in report
        assert remedy.format(data=data) in report
        data.rename(tmp_path / "away")
        await (await connected(lambda: server.ledger_url)).close()


async def test_what_could_not_be_prepared_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(embedded, "SETTLE_S", 0.1)
    prepare, fails = EmbeddedServer._make_missing, iter([True, True])
    prepared = asyncio.Event()

    async def make_missing(self: EmbeddedServer, connection: "asyncpg.Connection") -> None:
        if next(fails, False):
            raise asyncpg.DiskFullError("no space left")
        await prepare(self, connection)
        prepared.set()

    monkeypatch.setattr(EmbeddedServer, "_make_missing", make_missing)
    async with running(folder) as server:
        await asyncio.wait_for(prepared.wait(), PATIENCE_S)
        assert server.reports == ["the embedded database is not as it should be: no space left"]  # type: ignore[attr-defined]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="file"):
        EmbeddedServer(tmp_path / "file" / "pg", print)


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
async def test_without_user_namespaces_root_becomes_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a folder that nobody can reach, which pytest's are not."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from outlast.database import start\n"
        "def refuse(*_): raise OSError\n"
        "start.enter_namespace = refuse\n"
        "start.main(os.getppid(), start.Path(sys.argv[2]), ['/bin/sh', '-c', 'id -u; ls -ldn $0', sys.argv[2]])"
    )
    folder = tmp_path_factory.mktemp("nobodys")
    source = str(Path(__file__).parents[2] / "src")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, source, str(folder)), stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert out.startswith(b"65534\n"), err


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
@pytest.mark.parametrize("namespaces", [True, False])
async def test_a_user_without_a_name_is_nobody_where_there_are_user_namespaces(namespaces: bool) -> None:
    script = (
        "import ctypes, os, sys; sys.path.insert(0, sys.argv[1]); from outlast.database import start\n"
        "def refuse(*_): raise OSError\n"
        f"if not {namespaces}: start.enter_namespace = refuse\n"
        f"os.setgroups([]); os.setgid({NAMELESS}); os.setuid({NAMELESS})\n"
        "ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as after exec, its /proc/self is this user's\n"
        "start.main(os.getppid(), start.Path('/'), ['/bin/sh', '-c', 'id -un'])"
    )
    source = str(Path(__file__).parents[2] / "src")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, source, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    if namespaces and b"nor may it have another number" in out:
        pytest.skip("there are no user namespaces")
    assert out == b"nobody\n" if namespaces else f"RUN useradd --uid {NAMELESS} ".encode() in out, err
