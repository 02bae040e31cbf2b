"""Finds the workspace that a deno.json belongs to, as Deno does: its members have the names that its root gives to
imports.

A worker cannot read the root's file, nor those of other members, so Deno itself knows of no workspace there.
"""

import os
import re
from pathlib import Path, PurePath

from outlast.config.files import resolved
from outlast.config.settings import DENO_CONFIGS
from outlast.engines.deno import jsonc
from outlast.engines.deno.jsonc import SettingsError


def root(config: Path | None, within: Path) -> Path | None:
    """The file of the workspace's root; None without one. Raises `jsonc.SettingsError`.

    Args:
        within: the folder that it must lie in.
    """
    if config is None:
        return None
    member, around = resolved(config.parent), resolved(within)
    for folder in member.parents:
        if not folder.is_relative_to(around):
            return None
        for file in (folder / name for name in DENO_CONFIGS):
            if file.is_file() and resolved(file).is_relative_to(around) and (listed := _listed(file)) is not None:
                return file if _lists(listed, member.relative_to(folder)) else None
    return None


def _listed(file: Path) -> list[str] | None:
    """None where the file is of no workspace's root."""
    found = jsonc.read(file).get("workspace")
    if found is None:
        return None
    listed = found.get("members", []) if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise SettingsError(f'{file}: "workspace" must be an array of folders')
    return listed


def _lists(listed: list[str], member: PurePath) -> bool:
    """What one that begins with ! leaves out is not listed, wherever it stands."""

    def matches(pattern: str) -> bool:
        return _written(pattern).fullmatch(f"{member}/") is not None

    left_out = [text[1:] for text in listed if text.startswith("!")]
    return any(map(matches, listed)) and not any(map(matches, left_out))


def _written(pattern: str) -> re.Pattern[str]:
    """How a path is written that the pattern means, with a / at its end. Wildcards do not mean hidden folders."""
    text = ""
    for part in PurePath(os.path.normpath(pattern)).parts:
        if part == "**":
            text += r"([^./][^/]*/)*"
        else:
            hidden = "" if part.startswith(".") else r"(?!\.)"
            text += hidden + "".join({"*": "[^/]*", "?": "[^/]"}.get(each, re.escape(each)) for each in part) + "/"
    return re.compile(text)
