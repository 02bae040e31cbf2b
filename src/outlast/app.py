"""The composition root: everything is wired here, and the life of a node reads from top to bottom in `serve`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from outlast.config import settings
from outlast.config.settings import Project
from outlast.core.errors import OutlastError
from outlast.core.policy import Policy
from outlast.engines.deno import DenoEngine
from outlast.engines.processes import Spawner
from outlast.gateway.auth import JwtVerifier
from outlast.gateway.keys import UnusableKeyError
from outlast.gateway.ports import Ports, Served
from outlast.gateway.server import Gateway
from outlast.supervisor.fleet import Fleet
from outlast.supervisor.pool import Resources
from outlast.supervisor.rundir import run_dir
from outlast.supervisor.watch import Watch
from outlast.telemetry.logs import REQUEST_LEVEL, Level, Log


@dataclass(frozen=True)
class Options:
    """What the command line of `outlast serve` says."""

    target: Path
    environ: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 54321
    policy: Policy | None = None
    verify_jwt: bool = True
    env_file: Path | None = None
    graceful_exit_timeout_s: float = 15.0
    trust_proxy: bool = False

    def load(self, url: str) -> Project:
        """Reads the project's settings. Raises ConfigError."""
        return settings.load(
            self.target,
            environ=self.environ,
            env_file=self.env_file,
            policy=self.policy,
            verify_jwt=self.verify_jwt,
            url=url,
        )


async def serve(options: Options, log: Log, on_ready: Callable[[str], None] | None = None) -> int:
    """Runs a node until it is told to end (SIGINT, SIGTERM). Returns the exit code.

    Raises `OutlastError` when it cannot start: wrong configuration, an address in use.
    """
    project = options.load(_url(options.host, options.port))
    stop = _Signals()
    prepared = asyncio.Event()
    with run_dir() as folder, stop:
        spawner = Spawner()
        engine = DenoEngine(
            state_dir=project.state_dir,
            shared_dir=project.shared_dir,
            environ=options.environ,
            inspector_port=project.inspector_port,
        )
        fleet = Fleet(project, Resources(engine, spawner.spawn, folder, log, prepared.set))
        gateway = Gateway(
            Ports(
                services=fleet.services,
                verifier=_verifier(project, log),
                on_served=partial(_log_served, log),
                trust_proxy=options.trust_proxy,
            )
        )
        host, port = await gateway.listen(options.host, options.port)
        if port != options.port:
            project = options.load(_url(host, port))
            fleet.apply(project, ())
        for warning in project.warnings:
            log.emit("config", level=Level.WARNING, msg=warning)
        log.emit("ready", url=_url(host, port))
        if on_ready is not None:
            on_ready(_url(host, port))

        side_tasks = [
            asyncio.create_task(fleet.prepare(), name="fetch dependencies ahead"),
            asyncio.create_task(_reload(options, project, _url(host, port), fleet, prepared, log), name="reload"),
        ]
        await _until(stop.first(), side_tasks)

        for task in side_tasks:
            task.cancel()
        await gateway.close()
        closing: asyncio.Future[None] = asyncio.ensure_future(fleet.close(options.graceful_exit_timeout_s))
        await asyncio.wait({closing, asyncio.ensure_future(stop.second())}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        await asyncio.wait([closing])
        gateway.abort()
        await spawner.close()
        return stop.exit_code


class _Signals:
    """The first signal asks the node to end, the second one insists."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[int] = self._loop.create_future()
        self._second: asyncio.Future[int] = self._loop.create_future()

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._hear, number)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _hear(self, number: int) -> None:
        for future in (self._first, self._second):
            if not future.done():
                future.set_result(number)
                return

    async def first(self) -> None:
        await self._first

    async def second(self) -> None:
        await self._second

    @property
    def exit_code(self) -> int:
        return 128 + self._second.result() if self._second.done() else 0


async def _until(stopped: Coroutine[None, None, None], side_tasks: list[asyncio.Task[None]]) -> None:
    """Waits for ``stopped``. Raises what a side task raises: none of them may fail unseen."""
    stop = asyncio.create_task(stopped)
    pending = {stop, *side_tasks}
    while not stop.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _reload(
    options: Options, project: Project, url: str, fleet: Fleet, prepared: asyncio.Event, log: Log
) -> None:
    """Serves what the files say, whenever they change."""
    watch = Watch(project.functions_dir.resolve(), project.state_dir.resolve())
    sources = {source.resolve() for source in project.sources}
    watch.files(sources)

    async def widen() -> None:
        while True:
            await prepared.wait()
            prepared.clear()
            watch.files(sources | fleet.modules)

    widening = asyncio.create_task(widen())
    try:
        async with contextlib.aclosing(watch.changes()) as changes:
            async for changed in changes:
                try:
                    project = options.load(url)
                except OutlastError as error:
                    log.emit("config", level=Level.ERROR, msg=f"{error}; going on with what was valid before")
                    continue
                sources = {source.resolve() for source in project.sources}
                fleet.apply(project, changed)
    finally:
        widening.cancel()


def _verifier(project: Project, log: Log) -> JwtVerifier:
    jwt = project.jwt
    try:
        return JwtVerifier(
            secret=jwt.secret,
            jwks=jwt.jwks,
            jwks_url=jwt.jwks_url,
            warn=lambda text: log.emit("config", level=Level.WARNING, msg=text),
        )
    except UnusableKeyError as error:
        raise OutlastError(f"the keys that callers' tokens are checked with cannot be used: {error}") from error


def _log_served(log: Log, served: Served) -> None:
    log.emit(
        "request",
        level=REQUEST_LEVEL,
        function=served.function or None,
        execution_id=served.execution_id or None,
        request_id=served.request_id,
        method=served.method,
        path=served.path,
        status=served.status,
        ms=round(served.ms, 2),
    )


def _url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104, compared, not listened on
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
