"""The composition root: wires everything. `serve` reads, from top to bottom, as the life of a node."""

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from outlast import tuning
from outlast.admin.address import Address
from outlast.admin.administration import Administration
from outlast.admin.node import Node
from outlast.admin.place import Unusable
from outlast.config import address, settings
from outlast.config.inspection import InspectMode
from outlast.config.settings import Project
from outlast.core.errors import OutlastError
from outlast.core.language import Language
from outlast.core.policy import Policy
from outlast.database import choice
from outlast.engines import tools
from outlast.engines.deno import inspector
from outlast.engines.deno.engine import DenoEngine
from outlast.engines.processes import Command, Process, Spawner
from outlast.engines.python.engine import ZYGOTE, PythonEngine
from outlast.gateway.ports import Ports
from outlast.gateway.server import Gateway
from outlast.reloading import NO_SETTINGS, Reloading, Settings, Verifier, watching
from outlast.request_log import RequestLog
from outlast.sandbox.layers import NOTHING, Available, available
from outlast.service_manager import ServiceManager
from outlast.storage import Storage
from outlast.supervisor.fleet import Fleet
from outlast.supervisor.meter import Meter
from outlast.supervisor.register import Register
from outlast.supervisor.resources import Engine, Resources
from outlast.supervisor.rundir import run_dir
from outlast.telemetry import traces
from outlast.telemetry.counts import Counts
from outlast.telemetry.logs import Level, Log

FOR_CLIENTS = 0.85
"""So much of the limit on open files may be used when a client connects. The rest is for serving those that are there.
"""
_TOKENS_PROVE_NOTHING = (
    "callers' tokens are checked with the secret that all local Supabase projects share, so anyone can make a valid "
    "one: set SUPABASE_JWT_SECRET, or auth.jwt_secret in config.toml, to a secret of your own"
)


class Sandbox(Enum):
    """How functions are confined."""

    AVAILABLE = auto()
    """By every layer that this machine has."""
    REQUIRED = auto()
    """By every layer; the node does not start where one is missing."""
    NONE = auto()
    """Not at all: they may do whatever the user who runs the node may do."""


@dataclass(frozen=True)
class Options:
    """The options of `outlast serve`."""

    target: Path
    environ: Mapping[str, str]
    host: str = address.HOST
    port: int = address.PORT
    policy: Policy | None = None
    verify_jwt: bool = True
    env_file: Path | None = None
    graceful_exit_timeout_s: float = 15.0
    trust_proxy: bool = False
    sandbox: Sandbox = Sandbox.AVAILABLE
    admin: Address = field(default_factory=Address)
    announced: bool = True
    """Whether commands find this node through the project's folder."""
    database: str = choice.EMBEDDED
    inspect: InspectMode | None = None
    """How debuggers of TypeScript functions are attached; None: not at all."""

    def load(self, url: str, database_url: str | None = None, given: Settings = NO_SETTINGS) -> Project:
        """Reads the project's settings; ``given`` overrides them. Raises ConfigError."""
        return settings.load(
            self.target,
            environ=self.environ,
            env_file=self.env_file,
            policy=self.policy,
            verify_jwt=self.verify_jwt,
            url=url,
            database_url=database_url,
            inspect=self.inspect,
            given=given,
        )


async def serve(options: Options, log: Log, on_ready: Callable[[str, str | None], None] | None = None) -> int:
    """Runs a node until SIGINT, SIGTERM or SIGHUP. Returns the exit code.

    ``on_ready`` is called with the URL of the functions, and that of the admin API if there is one.

    Raises `OutlastError` when the node cannot start, as with wrong settings or an address in use.
    """
    project = options.load(address.url(options.host, options.port))
    manager = ServiceManager(options.environ, log)
    opened = manager.opened()
    sandbox = await _sandbox(options, log)
    layers = sandbox.for_walls if options.sandbox is not Sandbox.NONE else None
    environ = options.environ if layers is None else tools.environment(options.environ)
    open_files = tuning.allow_open_files()
    tuning.interrupt_what_computes()
    asyncio.get_running_loop().set_exception_handler(partial(_log_bug, log))
    prepared = asyncio.Event()
    started = datetime.now(UTC)
    async with contextlib.AsyncExitStack() as until_the_end:
        folder, stop = until_the_end.enter_context(run_dir()), until_the_end.enter_context(_Signals())
        storing = Storage(options.database, project, log)
        until_the_end.push_async_callback(storing.close)
        administration = await _administration(options, project, log)
        spawner, zygote = Spawner(), Spawner(ZYGOTE)
        until_the_end.push_async_callback(spawner.close)
        until_the_end.push_async_callback(zygote.close)
        python = PythonEngine(
            zygote=zygote,
            run=spawner.run,
            state_dir=project.state_dir,
            functions_dir=project.functions_dir,
            root=project.root,
            environ=environ,
            report=partial(_log_progress, log),
            layers=layers,
        )
        until_the_end.push_async_callback(python.close)
        deno = DenoEngine(
            run=spawner.run,
            state_dir=project.state_dir,
            functions_dir=project.functions_dir,
            root=project.root,
            environ=environ,
            layers=layers,
        )
        engines: dict[Language, Engine] = {Language.TYPESCRIPT: deno, Language.PYTHON: python}

        async def spawn(command: Command) -> Process:
            if command.port is not None:
                await inspector.wait_until_free(command.port)
            return await (spawner if command.fork is None else zygote).spawn(command)

        tracing = traces.opened(options.environ, storing.node, log)
        if tracing is not None:
            until_the_end.push_async_callback(tracing.close)
        register = Register(storing.ledger, storing.node, tracing)
        fleet = Fleet(
            project, Resources(engines, spawn, folder, log, register, prepared.set, Meter(), os.cpu_count() or 1)
        )
        log.observer = counts = Counts()
        verifier = Verifier(project.jwt, log)
        requests = RequestLog(log, storing)
        until_the_end.callback(requests.close)
        gateway = Gateway(
            Ports(
                services=fleet.services,
                verifier=verifier,
                on_served=requests.served,
                on_unread=requests.unread,
                trust_proxy=options.trust_proxy,
                tracer=tracing,
                max_files=int(open_files * FOR_CLIENTS),
            )
        )
        until_the_end.callback(gateway.abort)
        host, port = await gateway.listen(options.host, options.port, opened)
        url = address.url(host, port)
        if project.tokens_prove_nothing and (options.trust_proxy or not ip_address(host).is_loopback):
            log.emit("config", level=Level.WARNING, msg=_TOKENS_PROVE_NOTHING)
        watch = await watching(project, log)
        reloading = Reloading(
            lambda given: options.load(url, storing.functions_url, given), project, fleet, verifier, storing, log
        )
        # Once more, now that address and database are known and no change goes unseen. No request has been read before.
        reloading.reload(())
        storing.on_moved = partial(reloading.reload, ())
        if administration is not None:
            node = Node(
                fleet=fleet,
                ledger=storing.ledger,
                log=log,
                counts=counts,
                reload=reloading.load_again,
                settings=lambda: reloading.given,
                give=reloading.give,
                url=url,
                admin_url=administration.url,
                started=started,
                anon_key=lambda: reloading.anon_key,
            )
            await until_the_end.enter_async_context(administration.open(node))
        tuning.spare_the_collector()
        # Programs wait for this line, whatever else they want to read.
        admin_url = administration.url if administration is not None else None
        log.emit("ready", level=max(Level.INFO, log.level), url=url, admin_url=admin_url, sandbox=sandbox.for_people)
        for name, function in project.functions.items():
            if function.inspector is not None:
                where = inspector.address(function.inspector)
                log.emit("config", function=name, msg=f"debuggers attach to {where} once it has a worker")
        if on_ready is not None:
            on_ready(url, admin_url)
        manager.ready(url)

        side_tasks = [
            asyncio.create_task(storing.run(), name="run the database"),
            asyncio.create_task(_fetch_ahead(fleet, python, log), name="fetch dependencies ahead"),
            asyncio.create_task(reloading.follow(watch), name="reload"),
            asyncio.create_task(reloading.widen(watch, prepared), name="watch what functions import"),
        ]
        await _until(stop.first, side_tasks)

        manager.stopping(options.graceful_exit_timeout_s)
        for task in side_tasks:
            task.cancel()
        await gateway.close()
        _tell_what_is_open(log, fleet, options.graceful_exit_timeout_s)
        over = asyncio.get_running_loop().time() + options.graceful_exit_timeout_s
        await fleet.close(options.graceful_exit_timeout_s, stop.second)
        # The last answers may not have been sent yet.
        await _first(stop.second, asyncio.ensure_future(gateway.wait_closed()), until=over)
    return stop.exit_code


async def _administration(options: Options, project: Project, log: Log) -> Administration | None:
    """None if there is no place to keep its token. Raises `OutlastError` for an address that cannot be listened on."""
    environ_token = options.environ.get("OUTLAST_ADMIN_TOKEN")
    try:
        administration = await Administration.prepare(
            options.admin, project.state_dir, environ_token, announced=options.announced
        )
    except Unusable as error:
        if options.admin != Address():
            raise
        log.emit("config", level=Level.WARNING, msg=f"{error}: serving goes on without the admin API")
        return None
    return administration


async def _sandbox(options: Options, log: Log) -> Available:
    """Raises `OutlastError` if a layer is required and missing."""
    if options.sandbox is Sandbox.NONE:
        text = "--no-sandbox: functions may do whatever the user who runs Outlast may"
        log.emit("sandbox", level=Level.WARNING, msg=text)
        return NOTHING
    found = await asyncio.to_thread(available)
    lacking = [f"{layer.name} ({layer.reason})" for layer in found.lacking]
    if lacking and options.sandbox is Sandbox.REQUIRED:
        raise OutlastError(f"--require-sandbox: missing on this machine: {'; '.join(lacking)}")
    for layer in found.lacking:
        text = f"functions are less confined than they should be: {layer.name}, for {layer.protects}: {layer.reason}"
        log.emit("sandbox", level=Level.WARNING, msg=text)
    return found


async def _fetch_ahead(fleet: Fleet, python: PythonEngine, log: Log) -> None:
    await fleet.prepare()
    # By now it is known what is in use.
    while True:
        for path in await python.remove_unused():
            log.emit("prepare", level=Level.DEBUG, msg=f"{path}: removed, no function has used these packages for long")
        await asyncio.sleep(86_400)


class _Signals:
    """The first signal asks the node to end, the second one insists.

    A terminal that is closed asks, too. It never insists: the shell tells of it, and so does the kernel.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = self._loop.create_future()
        self.second: asyncio.Future[int] = self._loop.create_future()

        self._heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # nohup(1) has it ignored.
            self._heard.append(signal.SIGHUP)

    def __enter__(self) -> Self:
        for number in self._heard:
            self._loop.add_signal_handler(number, self._hear, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._heard:
            self._loop.remove_signal_handler(number)

    def _hear(self, number: int) -> None:
        if not self.first.done():
            self.first.set_result(number)
        elif not self.second.done() and number != signal.SIGHUP:
            self.second.set_result(number)

    @property
    def exit_code(self) -> int:
        return 128 + self.second.result() if self.second.done() else 0


async def _until(stopped: asyncio.Future[int], side_tasks: list[asyncio.Task[None]]) -> None:
    """Waits for ``stopped``. Raises whatever a side task raises, so that none fails unnoticed."""
    pending: set[asyncio.Future[int] | asyncio.Task[None]] = {stopped, *side_tasks}
    while not stopped.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _first(*futures: asyncio.Future[Any], until: float) -> None:
    """Waits for one of them, at most until this moment on the event loop's clock."""
    remaining = until - asyncio.get_running_loop().time()
    await asyncio.wait(futures, timeout=max(remaining, 0), return_when=asyncio.FIRST_COMPLETED)


def _tell_what_is_open(log: Log, fleet: Fleet, grace_s: float) -> None:
    functions = fleet.snapshot()
    requests = sum(function.requests + function.waiting for function in functions)
    tasks = sum(function.open_tasks for function in functions)
    if requests or tasks:
        what = f"requests ({requests}) and background tasks ({tasks})"
        text = f"waits for {what}, at most {grace_s:g} s; a second Ctrl-C, or signal, cuts them off"
        log.emit("stopping", msg=text)


def _log_bug(log: Log, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception that nobody could catch is a defect in Outlast itself."""
    error = context.get("exception")
    stack = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else None
    log.emit("internal_error", level=Level.ERROR, msg=str(context.get("message")), stack=stack)


def _log_progress(log: Log, function: str, text: str, ms: float | None) -> None:
    log.emit("prepare", function=function, msg=text, ms=ms)
