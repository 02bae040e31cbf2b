"""Environments built from packages made on the spot."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.engines.processes import Command, Result, Spawner
from outlast.engines.python.build import Environment
from outlast.engines.python.environments import Environments
from outlast.engines.python.requirements import read
from outlast.engines.python.uv import Uv


class Builder:
    """Environments of one project. ``runs`` holds the programs that were run for them."""

    def __init__(self, folder: Path, spawner: Spawner) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        config = folder / "uv.toml"
        config.write_text(f'no-index = true\nfind-links = ["{self.wheels}"]\n')
        self.env = {**os.environ, "UV_CONFIG_FILE": str(config), "UV_CACHE_DIR": str(folder / "cache")}
        self.runs: list[list[str]] = []
        self.began = asyncio.Event()
        self.fails = ""
        """An option with which uv fails."""
        self.said: list[tuple[str, bool]] = []
        self._spawner = spawner

    def open(self, **env: str) -> Environments:
        """As a node does that is started anew."""

        async def run(command: Command) -> Result:
            self.runs.append([*command.argv])
            self.began.set()
            if self.fails in command.argv:
                command = Command(["false"], command.env, command.cwd)
            return await self._spawner.run(command)

        return Environments(self.folder / "envs", Uv(run, {**self.env, **env}))

    async def provide(
        self,
        function: FunctionSettings,
        environments: Environments | None = None,
        preferred: Mapping[str, str] | None = None,
    ) -> Environment:
        requirements = read(function)
        assert requirements is not None
        found = await (environments or self.open()).provide(
            requirements, preferred or {}, lambda text, ms: self.said.append((text, ms is not None))
        )
        assert found is not None
        return found
