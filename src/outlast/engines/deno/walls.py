"""What the worker of a TypeScript function may touch, Deno's own permissions aside."""

import functools
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from outlast.engines.deno.prepare import DENO, GUEST, Prepared
from outlast.sandbox import system
from outlast.sandbox.walls import Walls

_PT_INTERP = 3


def around(
    prepared: Prepared,
    *,
    layers: Sequence[str],
    folder: Path,
    shared_dir: Path,
    state: Path,
    hidden_env: Mapping[str, str],
    inspector_port: int | None,
    rlimits: Mapping[str, int],
) -> Walls:
    """For one worker.

    Args:
        folder: the worker's own.
        state: where what was made for the function lies.
        rlimits: as in `Walls`, besides those for all.
    """
    function = prepared.function
    configured = [path for path in (function.deno_config, function.import_map) if path is not None]
    packages = [path.parent / name for path in configured for name in ("node_modules", "package.json")]
    own = [function.folder, shared_dir, *function.static_files, state, *configured, *packages]
    # Deno reads what is imported without asking for permission, wherever it lies.
    elsewhere = [path for path in sorted(prepared.modules) if not any(parent in path.parents for parent in own)]
    env = {**hidden_env, **function.env}
    named = [env[name] for name in ("DENO_DIR", "DENO_CERT", *system.CERTIFICATE_VARIABLES) if name in env]
    return Walls(
        layers=layers,
        files=[*system.facts(), *map(str, elsewhere)],
        read=[*system.libraries(), *system.more_facts(), str(GUEST), *map(str, own), *named],
        run=[DENO, *_loader()],
        change=[str(folder / "tmp")],
        devices=system.DEVICES,
        sockets=[str(folder)],
        listen_on=[inspector_port] if inspector_port is not None else [],
        rlimits={**system.RLIMITS, **rlimits},
    )


@functools.cache
def _loader() -> list[str]:
    """The program that the kernel runs to load Deno: the interpreter of its ELF header (elf(5))."""
    with Path(DENO).open("rb") as program:
        header = program.read(64)
        if header[:5] != b"\x7fELF\x02":
            return []
        (at,) = struct.unpack_from("=Q", header, 32)
        size, count = struct.unpack_from("=HH", header, 54)
        for index in range(count):
            entry = os.pread(program.fileno(), size, at + index * size)
            kind, _, offset, _, _, length = struct.unpack_from("=IIQQQQ", entry)
            if kind == _PT_INTERP:
                return [os.fsdecode(os.pread(program.fileno(), length, offset).rstrip(b"\0"))]
    return []
