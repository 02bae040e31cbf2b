"""Finds the workspace that a deno.json belongs to, as Deno does: its members have the names that its root gives to
imports.

A worker cannot read the root's file, nor those of other members, so Deno itself knows of no workspace there.
"""

import os
from pathlib import Path, PurePath
from typing import Any

from outlast.config.files import resolved
from outlast.engines.deno import jsonc

_NAMES = ("deno.json", "deno.jsonc")


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
        for file in (folder / name for name in _NAMES):
            if file.is_file() and (listed := jsonc.read(file).get("workspace")) is not None:
                return file if _lists(listed, member.relative_to(folder)) else None
    return None


def _lists(listed: Any, member: PurePath) -> bool:
    found = listed.get("members", []) if isinstance(listed, dict) else listed
    patterns = [PurePath(os.path.normpath(text)) for text in found if isinstance(text, str)]
    return any(len(pattern.parts) == len(member.parts) and member.match(str(pattern)) for pattern in patterns)
