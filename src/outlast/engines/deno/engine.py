"""TypeScript and JavaScript functions, run by Deno."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from outlast.config.files import resolved
from outlast.config.settings import FunctionSettings
from outlast.core.outcome import EndReason
from outlast.engines import backstop, reach
from outlast.engines.deno import import_map, inspector, memory, walls, workspace
from outlast.engines.deno.prepare import BOOTSTRAP, RESOLVING, Prepared, PrepareError, prepare
from outlast.engines.deno.rehearsal import Learnt, Rehearsal
from outlast.engines.deno.shipped import DENO, PLAIN
from outlast.engines.processes import Command, Exit, Run
from outlast.engines.reach import Bounds
from outlast.sandbox.walls import Walls
from outlast.wire import notes, sockets

HARMLESS_SYS = "hostname,osRelease,osUptime,cpus,homedir,loadavg,systemMemoryInfo,uid,gid,statfs,umask,username"
DENO_SETTINGS = ("DENO_TLS_CA_STORE", "DENO_CERT", "NPM_CONFIG_REGISTRY", "JSR_URL")
"""Variables of the node's own environment that Deno needs to find what it fetched; functions do not see them."""

QUIET = {
    **PLAIN,
    # Without it Deno puts a `node` of its own on PATH, which functions would find in their environment.
    "DENO_DISABLE_NODE_SHIM": "1",
    # Deno would answer `export default { fetch }` with the advice to use `deno serve`.
    "DENO_LOG": "error,ext:runtime_main=off",
}
"""For the environment of each worker."""


class DenoEngine:
    """Implements `outlast.supervisor.resources.Engine`."""

    def __init__(
        self,
        *,
        run: Run,
        state_dir: Path,
        functions_dir: Path,
        root: Path,
        environ: Mapping[str, str],
        layers: Sequence[str] | None,
    ) -> None:
        """
        Args:
            run: for programs that prepare functions.
            root: the project's root folder.
            layers: of the sandbox; None: functions are not confined.
        """
        self._run = run
        self._folders = state_dir / "functions"
        self._functions_dir = functions_dir
        self._root = reach.repository(root)
        self._layers = layers
        self._fetch_env = {**environ, "DENO_DIR": environ.get("DENO_DIR") or str(state_dir / "deno")}
        self._rehearsal = Rehearsal(run, {**self._fetch_env, **QUIET})
        self._hidden_env = self._of_node(("DENO_DIR", *DENO_SETTINGS))

    async def prepare(self, function: FunctionSettings) -> "DenoProgram":
        try:
            return await self._prepare(function)
        except OSError as error:
            # What is made for functions cannot be kept: the disk is full, or may not be written to.
            raise PrepareError(f"{error.filename or self._folders}: {error.strerror}") from error

    async def _prepare(self, function: FunctionSettings) -> "DenoProgram":
        state = self._folders / function.name
        # A .npmrc may name variables of the function's, and NPM_CONFIG_REGISTRY may be one of them.
        env = {**function.env, **self._fetch_env}
        # A map of its own counts alone.
        shared = workspace.root(function.deno_config, self._root) if function.import_map is None else None
        prepared, learnt = await asyncio.gather(
            prepare(function, workspace=shared, folder=state, env=env, run=self._run_for(function, state, env)),
            self._rehearsal.learnt(),
        )
        bounds = None
        if self._layers is not None:
            bounds = await asyncio.to_thread(self._bounds, prepared, self._layers)
        return DenoProgram(
            prepared=prepared,
            state=state,
            functions_dir=self._functions_dir,
            hidden_env={**self._hidden_env, **self._for_registries(prepared)},
            bounds=bounds,
            learnt=learnt,
        )

    def _for_registries(self, prepared: Prepared) -> dict[str, str]:
        """Without what the function has, and sees, anyway."""
        own = prepared.function.env
        found = self._of_node(prepared.registry_variables)
        return {name: value for name, value in found.items() if own.get(name) != value}

    def _of_node(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self._fetch_env[name] for name in names if name in self._fetch_env}

    def _run_for(self, function: FunctionSettings, state: Path, env: Mapping[str, str]) -> Run:
        if self._layers is None:
            return self._run
        around = walls.while_preparing(function, layers=self._layers, root=self._root, state=state, env=env)
        return lambda command: self._run(replace(command, walls=around))

    def _bounds(self, prepared: Prepared, layers: Sequence[str]) -> Bounds:
        function, around = prepared.function, resolved(self._root)
        own = reach.own(function, self._functions_dir)
        refuse_commas([*own, Path(self._fetch_env["DENO_DIR"])])
        named = (function.entrypoint, function.import_map, function.deno_config)
        files = (function.entrypoint, *import_map.files(function))
        configured = [path for path in files if path in named or resolved(path).is_relative_to(around)]
        elsewhere = reach.beyond(prepared.modules, own=own, root=around, configured=configured)
        return Bounds(layers, own, elsewhere)


@dataclass(frozen=True)
class DenoProgram:
    """Implements `outlast.supervisor.resources.Program`."""

    prepared: Prepared
    state: Path
    """The folder with what was made for the function."""
    functions_dir: Path
    hidden_env: Mapping[str, str]
    bounds: Bounds | None
    """None: it is not confined."""
    learnt: Learnt

    def command(self, folder: Path, execution_id: str) -> Command:
        function = self.prepared.function
        hidden = {"OUTLAST_WORKER_DIR": str(folder), **QUIET, **RESOLVING, **self.hidden_env}
        if self.prepared.uses_node_files:
            hidden["OUTLAST_NODE_FILES"] = "1"
        argv = [
            DENO,
            "run",
            "--no-prompt",
            "--quiet",
            "--unstable-no-legacy-abort",
            *([] if self.learnt.keeps_code else ["--no-code-cache"]),
            *memory.v8_flags(function.limits),
            *self.prepared.flags,
            *([] if function.inspector is None else [inspector.flag(function.inspector)]),
            *self._permissions(folder),
            f"--preload={BOOTSTRAP}",
            str(function.entrypoint),
        ]
        env = {
            **function.env,
            "SB_EXECUTION_ID": execution_id,
            "TMPDIR": str(folder / "tmp"),
            **hidden,
            "OUTLAST_HIDE": ",".join(hidden),
        }
        port = None if function.inspector is None else function.inspector.port
        return Command(argv, env, function.folder, walls=self._walls(folder), port=port)

    def _permissions(self, folder: Path) -> list[str]:
        if self.bounds is None:
            return ["--allow-all"]
        paths = [folder / name for name in (sockets.CONTROL, sockets.HTTP, sockets.NODE_HTTP)]
        read = [*self.bounds.own, folder / "tmp", *paths, *self._packages]
        return [
            "--allow-net",
            "--allow-env",
            "--allow-import",
            f"--allow-sys={HARMLESS_SYS}",
            f"--allow-read={permission(read)}",
            f"--allow-write={permission([folder / 'tmp', folder / notes.FILE, *paths])}",
        ]

    @property
    def _packages(self) -> list[Path]:
        """Folders of packages of npm, which may read what else they consist of."""
        config = self.prepared.function.deno_config
        beside = [] if config is None else [config.parent / "node_modules"]
        return [Path(self.hidden_env["DENO_DIR"], "npm"), *beside]

    def _walls(self, folder: Path) -> Walls | None:
        if self.bounds is None:
            return None
        limits = self.prepared.function.limits
        data = None if self.prepared.uses_workers else memory.data_bytes(limits, self.learnt.baseline)
        return walls.around(
            self.prepared,
            bounds=self.bounds,
            folder=folder,
            state=self.state,
            hidden_env=self.hidden_env,
            rlimits=backstop.rlimits(limits, data=data),
        )

    def limit_reached(self, used: Exit, errors: str) -> EndReason | None:
        return backstop.limit_reached(used, errors, self.prepared.function.limits)

    @property
    def modules(self) -> frozenset[Path]:
        return self.prepared.modules | self.prepared.of_workspace

    def concerns(self, path: Path) -> bool:
        return path in self.modules or reach.is_shared_data(path, self.functions_dir)


def refuse_commas(paths: Sequence[Path]) -> None:
    """Raises `PrepareError` for a path that no permission can be given for."""
    for path in paths:
        if "," in os.fspath(path):
            raise PrepareError(f"{path}: holds a comma, and Deno has no way to permit such a path: rename it")


def permission(paths: Sequence[Path]) -> str:
    """The paths as Deno's permission flags take them. Raises `PrepareError`."""
    refuse_commas(paths)
    return ",".join(map(os.fspath, paths))
