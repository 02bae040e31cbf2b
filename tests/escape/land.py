"""What there is to be had for a function that breaks out: a served project, and things of the test's own around it."""

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.support.node import Node, serving

FUNCTIONS = Path(__file__).with_name("functions")
SUFFIXES = {"typescript": ".ts", "python": ".py"}
NOBODY = 65534
UNCONFINED = ("--no-sandbox",)

CONFIG = """
[functions.prober]
verify_jwt = false

[functions.victim]
verify_jwt = false

[functions.victim.env]
ITS_OWN = "given to the neighbour"
"""
OUTLAST = """
[limits]
wall_clock_ms = 0
cpu_soft_ms = 0
cpu_hard_ms = 0
memory_mb = 0
"""

_libc = ctypes.CDLL(None, use_errno=True)
IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
SHARED_BYTES = 4096


@dataclass
class Land:
    """One node with two functions: the prober, and the victim, which has done nothing to it."""

    node: Node
    client: httpx.AsyncClient
    things: dict[str, Any]
    """Where everything is, as the prober is told."""
    bystander: "Bystander"

    async def attempt(self, probe: str) -> dict[str, Any]:
        """Has the prober try. The victim's worker is up then, and nothing is missing that the prober is after."""
        await self.bystander.revive()
        restore(Path(self.things["hideout"]))
        # What probes write into the project reloads its functions. An open request keeps the victim's worker.
        async with self.client.stream("GET", "/functions/v1/victim?held") as held:
            victim = json.loads(await anext(held.raise_for_status().aiter_lines()))
            limits = resource.prlimit(victim["pid"], resource.RLIMIT_NOFILE)
            told = {**self.things, "victim": victim, "limits": limits, "bystander_pid": self.bystander.pid}
            answer = await self.client.post(f"/functions/v1/prober/{probe}", json=told)
            return dict(answer.raise_for_status().json())

    def is_held_by(self, layer: str) -> bool:
        """Whether that layer of the sandbox is active, where ``NAME-VERSION`` asks for that version or a later one."""
        (ready,) = self.node.found("ready")
        name, version = _versioned(layer)
        return any(found == name and has >= version for found, has in map(_versioned, ready["sandbox"]))

    async def probes(self) -> list[str]:
        """The names of those that the prober knows."""
        return list((await self.client.get("/functions/v1/prober/names")).raise_for_status().json())


class Bystander:
    """A process that has nothing to do with the node, and says what is said to it."""

    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def revive(self) -> None:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )

    async def lives(self) -> bool:
        """A signal that has been sent comes before anything that is said after it."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(b"?\n")
            await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            await self._process.wait()
        return answer == b"?\n"

    async def end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _versioned(layer: str) -> tuple[str, int]:
    name, _, version = layer.rpartition("-")
    return (name, int(version)) if version.isdigit() else (layer, 0)


def restore(hideout: Path) -> None:
    for name in ("to-be-cut", "to-be-removed", "to-be-changed", "to-be-moved"):
        (hideout / f"{name}.txt").write_text("movable")


@asynccontextmanager
async def land(folder: Path, language: str, *arguments: str, **environment: str) -> AsyncIterator[Land]:
    secret = folder / "secret.txt"
    project = assemble(folder / "project", language, secret)
    hideout = folder / "hideout"
    deno_dir = folder / "deno"
    hideout.mkdir()
    deno_dir.mkdir()
    secret.write_text("the secret")
    secret.chmod(0o600)
    (folder / "secret.json").write_text('{"the secret": 1}')
    bystander = Bystander()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(bystander.end)
        sockets = await stack.enter_async_context(_sockets())
        key, queue = stack.enter_context(_interprocess())
        node = await stack.enter_async_context(
            serving(project, *arguments, env={"SECRET_OF_THE_NODE": "hidden", "DENO_DIR": str(deno_dir), **environment})
        )
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=node.url, timeout=30))
        things = {
            "secret": str(secret),
            "secret_json": str(folder / "secret.json"),
            "hideout": str(hideout),
            "project": str(project),
            "functions": str(project / "supabase/functions"),
            "state_file": str(project / ".outlast/state.txt"),
            "deno_dir": str(deno_dir),
            "home": str(Path.home()),
            "disk": _disk(),
            "node_pid": node.process.pid,
            "node_limits": resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE),
            "url": node.url,
            "ipc_key": key,
            "message_queue": queue,
            **sockets,
        }
        yield Land(node, client, things, bystander)


def assemble(project: Path, language: str, secret: Path) -> Path:
    foreign = {suffix for other, suffix in SUFFIXES.items() if other != language}
    functions = project / "supabase/functions"
    shutil.copytree(
        FUNCTIONS,
        functions,
        ignore=lambda _, names: [name for name in names if Path(name).suffix in foreign or name == "__pycache__"],
    )
    (functions / "_shared").mkdir()
    (functions / "_shared/data.txt").write_text("shared")
    (functions / ".env").write_text("GIVEN_TO_ALL=yes\n")
    (project / "supabase/config.toml").write_text(CONFIG)
    (project / "supabase/outlast.toml").write_text(OUTLAST)
    (project / ".outlast").mkdir()
    (project / ".outlast/state.txt").write_text("state")
    prober = functions / "prober"
    (prober / "link.txt").symlink_to(secret)
    if os.geteuid() == 0:
        foreigner, program = prober / "of-another-user.txt", prober / "changes-user"
        foreigner.write_text("of another user")
        foreigner.chmod(0o600)
        shutil.copy("/usr/bin/id", program)
        os.chown(foreigner, NOBODY, NOBODY)
        os.chown(program, NOBODY, NOBODY)
        program.chmod(0o4755)
    return project


@asynccontextmanager
async def _sockets() -> AsyncIterator[dict[str, str]]:
    """Servers of the test's own, by every kind of address that a unix socket has."""
    # Not pytest's folder: a path of more than 108 bytes is none (unix(7)).
    folder = tempfile.mkdtemp(prefix="escape-")
    name = f"outlast-escape-{os.getpid()}-{Path(folder).name}"
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for path in (f"{folder}/stream.sock", f"\0{name}"):
            server = await asyncio.start_unix_server(_answer, path)
            stack.callback(server.close)
        for path in (f"{folder}/datagram.sock", f"\0{name}-datagram"):
            datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.callback(datagrams.close)
            datagrams.bind(path)
        yield {
            "unix_socket": f"{folder}/stream.sock",
            "datagram_socket": f"{folder}/datagram.sock",
            "abstract_socket": name,
            "abstract_datagram_socket": f"{name}-datagram",
        }


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
    writer.close()


@contextmanager
def _interprocess() -> Iterator[tuple[int, str]]:
    """A key of System V IPC with a segment, a semaphore and a queue; the name of a POSIX queue."""
    key = int.from_bytes(os.urandom(4), "little") & 0x7FFF_FFFF
    queue = f"/outlast-escape-{key}"
    flags = IPC_CREAT | IPC_EXCL | 0o600
    with contextlib.ExitStack() as stack:
        segment = _checked(_libc.shmget(key, SHARED_BYTES, flags))
        stack.callback(_libc.shmctl, segment, IPC_RMID, None)
        semaphore = _checked(_libc.semget(key, 1, flags))
        stack.callback(_libc.semctl, semaphore, 0, IPC_RMID)
        messages = _checked(_libc.msgget(key, flags))
        stack.callback(_libc.msgctl, messages, IPC_RMID, None)
        opened = _checked(_libc.mq_open(queue.encode(), os.O_CREAT | os.O_RDWR, 0o600, None))
        stack.callback(_libc.mq_unlink, queue.encode())
        stack.callback(os.close, opened)
        yield key, queue


def _disk() -> str:
    """What this machine's files are on."""
    device = Path("/").stat().st_dev
    found = (path for path in Path("/dev").iterdir() if path.is_block_device() and path.stat().st_rdev == device)
    return str(next(found, "/dev/there-is-none"))


def _checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
