"""What `outlast doctor` finds."""

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from outlast import app
from outlast.config.address import PORT, URL, is_free
from outlast.config.layout import STATE
from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError
from outlast.engines.deno.shipped import DENO
from outlast.engines.python.uv import UV
from outlast.sandbox.layers import available


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Good to know; nothing that has to be done."""
    MISSING = "missing"
    """It matters: the command ends with exit code 1."""


@dataclass(frozen=True)
class Finding:
    about: str
    """What was looked at: ``sandbox``, ``version``, ``project`` or ``port``."""
    name: str
    state: State
    detail: str


def all_of(directory: Path | None) -> Sequence[Finding]:
    """Of this machine and of the project; None: of the current folder, if there is one."""
    return [*_sandbox(), *_versions(), *_project(directory), _port()]


def _sandbox() -> Iterator[Finding]:
    for layer in available().layers:
        state = State.OK if not layer.reason else State.NOTE if layer.optional else State.MISSING
        detail = f"keeps out of reach: {layer.protects}" + (f". {layer.reason}" if layer.reason else "")
        yield Finding("sandbox", layer.name, state, detail)


def _versions() -> Iterator[Finding]:
    yield Finding("version", "outlast", State.OK, version("outlast"))
    yield Finding("version", "python", State.OK, f"{platform.python_version()}, {sys.executable}")
    for name, program in (("deno", DENO), ("uv", UV)):
        yield _version(name, program)
    yield Finding("version", "kernel", State.OK, f"{platform.system()} {platform.release()} {platform.machine()}")


def _version(name: str, program: str) -> Finding:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, check=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("version", name, State.MISSING, f"{program} does not run: {error}")
    return Finding("version", name, State.OK, f"{said.split()[1]}, {program}")


def _project(directory: Path | None) -> Iterator[Finding]:
    target = directory if directory is not None else Path()
    try:
        project = app.Options(target=target, environ=os.environ).load(URL)
    except OutlastError as error:
        # Where nobody said that there is a project, there need not be one.
        expected = directory is not None or (target / "supabase").is_dir()
        yield Finding("project", "configuration", State.MISSING if expected else State.NOTE, str(error))
        return
    yield Finding("project", "configuration", State.OK, str(project.root.resolve()))
    for text in project.warnings:
        yield Finding("project", "configuration", State.NOTE, text)
    if not _is_writable(project.state_dir):
        without = "there are neither TypeScript functions nor packages for Python ones, no ledger and no admin API"
        yield Finding(
            "project", STATE, State.MISSING, f"{project.state_dir} may not be written to: without it {without}"
        )
    for function in project.functions.values():
        if (closed := _closed_to_workers(function)) is not None:
            yield Finding("project", function.name, State.MISSING, closed)
        else:
            yield Finding("project", function.name, State.OK, f"{function.language}, {function.entrypoint}")


def _is_writable(folder: Path) -> bool:
    """Whether it is, or can be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


def _closed_to_workers(function: FunctionSettings) -> str | None:
    """Root may read everything, but its workers give that up."""
    if os.geteuid() != 0:
        return None
    for path, needed in ((function.folder, 0o5), (function.entrypoint, 0o4)):
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_uid != 0 and found.st_mode & needed != needed:
                return f"{path} belongs to user {found.st_uid}, and workers of root may not read it: run as that user"
    return None


def _port() -> Finding:
    try:
        if is_free(PORT):
            return Finding("port", str(PORT), State.OK, "free")
    except OSError as error:
        return Finding("port", str(PORT), State.MISSING, f"cannot be listened on: {error.strerror}")
    return Finding("port", str(PORT), State.NOTE, "in use: outlast serve --port=0 takes any that is free")
