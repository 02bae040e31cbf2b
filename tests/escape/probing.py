"""How a probe is judged."""

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import pytest
from tests.escape.land import FUNCTIONS, Land

PROBER = FUNCTIONS / "prober"

DENIED = re.compile(
    r"\b(EPERM|EACCES|EXDEV|EROFS|PermissionError|NotCapable|PermissionDenied)\b"
    r"|[Rr]equires \w+ access|[Pp]ermission denied|Operation not permitted|not allowed to raise|Ended: SIGSYS"
    # How seccomp has a system call or a protocol look as if there were none.
    r"|\b(ENOSYS|EPROTONOSUPPORT|EAFNOSUPPORT)\b"
    # As Deno says it of SQLite, and of its own folder.
    r"|too many attached databases - max 0|unable to open database|Failed to create cache storage directory"
)
"""What stopped it was a wall, and not a mistake of its own."""

CAPABILITIES = int(re.findall(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)[0], 16)


class Capability(IntEnum):
    """capabilities(7): what this process may do, and so a node that it starts. Root may have been denied some."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    SETGID = 6
    SETUID = 7
    NET_RAW = 13
    SYS_CHROOT = 18
    SYS_ADMIN = 21
    SYS_NICE = 23
    SYS_TIME = 25
    MKNOD = 27
    SETFCAP = 31
    SYSLOG = 34

    @property
    def is_missing(self) -> bool:
        return not CAPABILITIES >> self & 1


@dataclass(frozen=True)
class Suite:
    """All probes of a language, and what is special about some."""

    names: list[str]
    needs: Mapping[str, Capability] = field(default_factory=dict)
    """Where the node's own user cannot do this, there is nothing to be stopped by the walls."""
    not_everywhere: Mapping[str, str] = field(default_factory=dict)
    """After something that kernels and machines need not have; what that is."""
    ends_bystander: Collection[str] = ()
    """Have come through when the bystander is no more."""
    stays_open: Collection[str] = ()
    """Come through everywhere, and docs/security.md says so."""
    held_by: Mapping[str, str] = field(default_factory=dict)
    """Come through where the node's sandbox has not this layer, and docs/security.md says so."""

    def __post_init__(self) -> None:
        for special in (self.needs, self.not_everywhere, self.ends_bystander, self.stays_open, self.held_by):
            assert {*special} <= {*self.names}, {*special} - {*self.names}

    async def comes_through(self, probe: str, unconfined: Land) -> None:
        """Fails the test unless the probe is a real one; skips it where nothing can be found out."""
        escaped, detail = await self._attempt(probe, unconfined)
        if not escaped:
            if probe in self.needs and self.needs[probe].is_missing:
                pytest.skip(f"without walls this takes {self.needs[probe].name}: {detail}")
            if probe in self.not_everywhere:
                pytest.skip(f"this machine has not {self.not_everywhere[probe]}: {detail}")
        assert escaped, f"not a real probe: it fails without walls as well: {detail}"

    async def is_held(self, probe: str, confined: Land) -> None:
        """Fails the test unless the probe is stopped; or comes through, and is known to."""
        escaped, detail = await self._attempt(probe, confined)
        if probe in self.stays_open or (probe in self.held_by and not confined.is_held_by(self.held_by[probe])):
            assert escaped, f"no longer open; take it from the list here and in docs/security.md: {detail}"
            return
        assert not escaped, f"it came through: {detail}"
        assert DENIED.search(detail), f"what stopped it is not a wall: {detail}"

    @property
    def named_in_docs(self) -> set[str]:
        return {*self.stays_open, *self.held_by}

    async def _attempt(self, probe: str, land: Land) -> tuple[bool, str]:
        answer = await land.attempt(probe)
        escaped, detail = bool(answer["escaped"]), str(answer["detail"])
        if escaped and probe in self.ends_bystander and await land.bystander.lives():
            return False, f"PermissionError: no signal came ({detail})"
        return escaped, detail


def python_probes() -> list[str]:
    """The names of all functions of the prober that are decorated as probes."""
    return [
        node.name.replace("_", "-")
        for file in sorted(PROBER.glob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(name, ast.Name) and name.id.startswith("probe") for name in node.decorator_list)
    ]


def typescript_probes() -> list[str]:
    """The keys of the tables that the prober's modules hold."""
    return [
        name
        for file in sorted(PROBER.glob("*.ts"))
        for name in re.findall(r'^  "([a-z0-9-]+)": ', Path(file).read_text(), re.MULTILINE)
    ]
