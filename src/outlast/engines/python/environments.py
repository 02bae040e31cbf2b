"""The packages of Python functions: one environment for each set of requirements, built by uv and kept.

An environment is complete as soon as it exists, because it is built elsewhere and then renamed. From then on it is used
without the network, and never changed. Functions with the same requirements share it. One that no function requires any
more is kept for a while, since functions of another branch may.
"""

import asyncio
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from outlast.engines.python import libraries
from outlast.engines.python.build import SCRATCH, Environment, EnvironmentFailed, Report, build, read
from outlast.engines.python.leases import Leases
from outlast.engines.python.requirements import Requirements
from outlast.engines.python.uv import Interpreter, Uv, UvError

OURS = sys.version_info[:2]
OLDEST = "3.11"
"""The oldest Python that functions can run on: the same as for Outlast itself, in pyproject.toml."""
UNUSED_S = 30 * 86_400.0
"""An environment that nobody has used for this long is removed."""
FORMAT = "2"
"""Part of every environment's key. Change it when Outlast changes what an environment contains."""


class Environments:
    def __init__(self, folder: Path, uv: Uv) -> None:
        """``folder``: holds the environments."""
        self._folder = folder
        self._uv = uv
        self._leases = Leases(folder, SCRATCH)
        self._asked: dict[Path, str] = {}
        """What the sources of requirements asked for last: keys of environments."""
        self._building: dict[str, asyncio.Task[Environment]] = {}

    async def provide(
        self, requirements: Requirements, preferred: Mapping[str, str], report: Report
    ) -> Environment | None:
        """The environment that meets the requirements; built first if there is none yet.

        None if this process's own interpreter meets them as it is. Raises `EnvironmentFailed`.

        Args:
            preferred: versions by name, taken where the requirements leave a choice.
        """
        interpreter = await self._interpreter(requirements)
        if not requirements.packages and interpreter.minor == OURS:
            return None
        wanted = [f"{name}=={version}" for name, version in sorted(preferred.items())]
        guest = [str(each) for each in libraries.requirements()] if interpreter.minor != OURS else []
        python = [str(interpreter.path), interpreter.version, sysconfig.get_platform()]
        key = requirements.key(FORMAT, *python, *wanted, *guest)
        folder = self._folder / key
        self._asked[requirements.source] = key
        if self._leases.take(key) and (found := read(folder)) is not None:
            return found
        building = self._building.get(key)
        if building is None:
            making = build(requirements, interpreter, wanted, guest, folder, self._uv, report)
            building = self._building[key] = asyncio.create_task(making)
            building.add_done_callback(lambda _: self._building.pop(key))
        # Cancelling this call must not cancel the build for others that wait for it.
        environment = await asyncio.shield(building)
        self._leases.take(key)
        return environment

    async def remove_unused(self) -> list[Path]:
        """Removes environments that no function of this node requires and nobody has used for `UNUSED_S`.

        Returns those that were removed. Never raises.

        Call it when the requirements of all functions have been read.
        """
        self._asked = {source: key for source, key in self._asked.items() if source.exists()}
        self._leases.keep({*self._asked.values()})
        return await asyncio.to_thread(self._leases.remove_unused, UNUSED_S)

    async def close(self) -> None:
        """Ends what is being built."""
        for building in [*self._building.values()]:
            building.cancel()
            await asyncio.wait([building])
        self._leases.keep(())

    async def _interpreter(self, requirements: Requirements) -> Interpreter:
        ours = ".".join(map(str, sys.version_info[:3]))
        if requirements.python.contains(ours, prereleases=True):
            return Interpreter(Path(sys.executable), ours)
        wanted = f"{requirements.python},>={OLDEST}"
        try:
            return await self._uv.find_python(wanted, cwd=requirements.source.parent)
        except UvError as error:
            raise EnvironmentFailed(
                f"{requirements.source}: requires Python {requirements.python}, and this is {ours}; "
                f"no other that is {OLDEST} or later was found on this machine "
                f"(UV_PYTHON_DOWNLOADS=automatic lets uv fetch one):\n{error}"
            ) from error
