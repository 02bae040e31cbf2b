"""Applies changes of the project's files, and of the settings given at run time."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from outlast.config.errors import ConfigError
from outlast.config.files import resolved
from outlast.config.settings import JwtSettings, Project
from outlast.core.errors import OutlastError
from outlast.gateway.auth import Denial, JwtVerifier, Pending
from outlast.gateway.keys import UnusableKeyError
from outlast.storage import Storage
from outlast.supervisor.fleet import Fleet
from outlast.supervisor.watch import Watch
from outlast.telemetry.logs import Level, Log

Settings = Mapping[str, object]
NO_SETTINGS: Settings = MappingProxyType({})


async def watching(project: Project, log: Log) -> Watch:
    """Starts watching the project's files, as far as its settings name them."""
    # If one function file is served, its folder is just where that file happens to be: perhaps a home directory.
    alone = any(function.folder == project.functions_dir for function in project.functions.values())
    watch = Watch(
        None if alone else resolved(project.functions_dir),
        ignored=resolved(project.state_dir),
        on_trouble=lambda text: log.emit("config", level=Level.WARNING, msg=text),
    )
    await watch.files(map(resolved, project.sources))
    return watch


class Reloading:
    def __init__(
        self,
        load: Callable[[Settings], Project],
        project: Project,
        fleet: Fleet,
        verifier: "Verifier",
        storing: Storage,
        log: Log,
    ) -> None:
        self._load = load
        self._project = project
        self._fleet = fleet
        self._verifier = verifier
        self._storing = storing
        self._log = log
        self._warned: set[str] = set()
        self._awaited: tuple[Path, ...] = ()
        """What else may make the settings good, if they are not."""
        self.given: Settings = NO_SETTINGS
        """Settings that override the files until the node ends."""

    def reload(self, changed: Iterable[Path]) -> None:
        try:
            self.load_again(changed)
        except OutlastError as error:
            self._log.emit("config", level=Level.ERROR, msg=f"{error}; going on with what was valid before")

    def give(self, settings: Settings) -> None:
        """Replaces `given`, from the next request on. Raises `OutlastError`; then nothing has changed."""
        before, self.given = self.given, settings
        try:
            self.load_again(at_once=True)
        except OutlastError:
            self.given = before
            raise

    def load_again(self, changed: Iterable[Path] = (), *, at_once: bool = False) -> None:
        """Reads all settings again. Raises `OutlastError`; then nothing has changed."""
        try:
            project = self._load(self.given)
        except ConfigError as error:
            self._awaited = error.files
            raise
        self._awaited = ()
        self._verifier.use(project.jwt)
        for warning in project.warnings:
            if warning not in self._warned:
                self._log.emit("config", level=Level.WARNING, msg=warning)
        self._warned = {*project.warnings}
        self._project = project
        self._storing.use(project.ledger)
        self._fleet.apply(project, changed, at_once=at_once)

    @property
    def anon_key(self) -> str:
        """The anon key that the functions are given."""
        return next((function.env["SUPABASE_ANON_KEY"] for function in self._project.functions.values()), "")

    async def follow(self, watch: Watch) -> None:
        async with contextlib.aclosing(watch.changes()) as changes:
            async for changed in changes:
                self.reload(changed)
                await self._look_at(watch)

    async def widen(self, watch: Watch, prepared: asyncio.Event) -> None:
        """Watches what functions import, each time more of it is known."""
        while True:
            await prepared.wait()
            prepared.clear()
            await self._look_at(watch)

    async def _look_at(self, watch: Watch) -> None:
        entrypoints = {function.entrypoint for function in self._project.functions.values()}
        sources = {resolved(path) for path in (*self._project.sources, *self._awaited, *entrypoints)}
        await watch.files(sources | self._fleet.modules)


class Verifier:
    """Implements `outlast.gateway.ports.Verifier` with the keys that the settings name at the time."""

    def __init__(self, jwt: JwtSettings, log: Log) -> None:
        self._log = log
        self._jwt = jwt
        self._verifier = self._made(jwt)

    def use(self, jwt: JwtSettings) -> None:
        """Raises `OutlastError` for keys that cannot be used; then the old ones stay."""
        if jwt != self._jwt:
            self._verifier = self._made(jwt)
            self._jwt = jwt

    def check(self, authorization: bytes | None) -> Denial | Pending | None:
        return self._verifier.check(authorization)

    def _made(self, jwt: JwtSettings) -> JwtVerifier:
        try:
            return JwtVerifier(
                secret=jwt.secret,
                jwks=jwt.jwks,
                jwks_url=jwt.jwks_url,
                issuer=jwt.issuer.url if jwt.issuer else None,
                issuer_shares_keys=jwt.issuer is not None and jwt.issuer.shares_keys,
                api_keys=jwt.api_keys,
                warn=lambda text: self._log.emit("config", level=Level.WARNING, msg=text),
            )
        except UnusableKeyError as error:
            raise OutlastError(f"the keys that callers' tokens are checked with cannot be used: {error}") from error
