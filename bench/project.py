"""Projects for Outlast to serve: of what is in ``functions``, under other names and with settings of their own."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parent / "functions"


@dataclass(frozen=True)
class Function:
    source: str
    """Which of the folders there."""
    settings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What outlast.toml says of it, by section."""


NO_CPU_LIMITS = {"limits": {"cpu_soft_ms": 0, "cpu_hard_ms": 0}}
"""As for the peers, which have none."""


def write(folder: Path, functions: Mapping[str, Function]) -> Path:
    """Makes a project of them, and returns its folder."""
    lines = []
    for name, function in functions.items():
        shutil.copytree(SOURCES / function.source, folder / "supabase" / "functions" / name)
        for section, values in function.settings.items():
            lines += [f"[functions.{name}.{section}]", *(f"{key} = {value}" for key, value in values.items())]
    (folder / "supabase" / "config.toml").touch()
    (folder / "supabase" / "outlast.toml").write_text("\n".join(lines) + "\n")
    return folder
