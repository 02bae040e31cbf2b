"""Serves what the project's files say, whenever they change."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

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
    """Watches what the project is made of, as far as its settings say."""
    # The folder of a function that is one file is just where that file happens to be: a home directory, perhaps.
    alone = any(function.folder == project.functions_dir for function in project.functions.values())
    watch = Watch(
        None if alone else project.functions_dir.resolve(),
        ignored=project.state_dir.resolve(),
        on_trouble=lambda text: log.emit("config", level=Level.WARNING, msg=text),
    )
    await watch.files(source.resolve() for source in project.sources)
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
        self.given: Settings = NO_SETTINGS
        """They win over what the files say, until the node ends."""

    def reload(self, changed: Iterable[Path]) -> None:
        try:
            self.load_again(changed)
        except OutlastError as error:
            self._log.emit("config", level=Level.ERROR, msg=f"{error}; going on with what was valid before")

    def give(self, settings: Settings) -> None:
        """They count for the next request, instead of those given before. Raises `OutlastError`; then nothing does."""
        before, self.given = self.given, settings
        try:
            self.load_again(at_once=True)
        except OutlastError:
            self.given = before
            raise

    def load_again(self, changed: Iterable[Path] = (), *, at_once: bool = False) -> None:
        """Raises `OutlastError`; then nothing has changed."""
        project = self._load(self.given)
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
        """As the functions know it."""
        return next((function.env["SUPABASE_ANON_KEY"] for function in self._project.functions.values()), "")

    async def follow(self, watch: Watch) -> None:
        async with contextlib.aclosing(watch.changes()) as changes:
            async for changed in changes:
                self.reload(changed)
                await self._look_at(watch)

    async def widen(self, watch: Watch, prepared: asyncio.Event) -> None:
        """Watches what functions import, each time that more is known of it."""
        while True:
            await prepared.wait()
            prepared.clear()
            await self._look_at(watch)

    async def _look_at(self, watch: Watch) -> None:
        entrypoints = {function.entrypoint for function in self._project.functions.values()}
        sources = {path.resolve() for path in (*self._project.sources, *entrypoints)}
        await watch.files(sources | self._fleet.modules)


class Verifier:
    """Implements `outlast.gateway.ports.Verifier` with the keys that the settings name at the time."""

    def __init__(self, jwt: JwtSettings, log: Log) -> None:
        self._log = log
        self._jwt = jwt
        self._verifier = self._made(jwt)

    def use(self, jwt: JwtSettings) -> None:
        """Raises `OutlastError` for keys that cannot be used; the old ones stay."""
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
                warn=lambda text: self._log.emit("config", level=Level.WARNING, msg=text),
            )
        except UnusableKeyError as error:
            raise OutlastError(f"the keys that callers' tokens are checked with cannot be used: {error}") from error
