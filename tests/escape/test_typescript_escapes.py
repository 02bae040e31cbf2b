"""What a TypeScript function tries, and what stops it: Deno's permissions, and the walls behind them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from tests.escape import probing
from tests.escape.land import Land, land
from tests.escape.probing import Capability

LANGUAGE = "typescript"

SUITE = probing.Suite(
    probing.typescript_probes(),
    needs={
        "read-etc-shadow": Capability.DAC_OVERRIDE,
        "read-disk": Capability.DAC_OVERRIDE,
        "write-setting-of-kernel": Capability.DAC_OVERRIDE,
        "raise-own-priority": Capability.SYS_NICE,
        "become-another-user": Capability.SETUID,
    },
    not_everywhere={"read-disk": "a disk that may be opened"},
    ends_bystander={"terminate-bystander", "terminate-bystander-by-node"},
    stays_open={"listen-on-udp"},
    held_by={"connect-to-abstract-socket": "landlock-6", "listen-on-tcp": "landlock-4"},
)

BEHIND_PERMISSIONS = replace(
    SUITE,
    stays_open={
        *SUITE.stays_open,
        # Names and facts, without contents.
        "change-to-folder-outside",
        "lstat-secret-file",
        "resolve-module-outside",
        "resolve-path-outside",
        "stat-secret-file",
        "stat-secret-file-by-node",
        # Its own, or the same for all.
        "list-deno-dir",
        "read-own-environment-as-it-was",
        "read-own-memory-map",
        # More of what Deno would not have granted, which is of no use within the same walls.
        "grant-oneself-reading",
        "load-addon",
        "load-extension-of-database",
        "load-library",
        "read-by-permission-of-own-settings",
        "run-deno-with-all-permissions",
    },
    held_by={
        **SUITE.held_by,
        "change-mode-outside": "mounts",
        "change-owner-outside": "mounts",
        "change-times-outside": "mounts",
        "connect-to-control-socket-of-neighbour": "landlock-9",
        "connect-to-unix-socket-outside": "landlock-9",
        "connect-to-unix-socket-outside-by-node": "landlock-9",
        "request-at-socket-of-neighbour": "landlock-9",
        "request-at-socket-of-neighbour-by-fetch": "landlock-9",
        "request-at-socket-of-neighbour-by-node": "landlock-9",
        "signal-neighbour": "landlock-6",
        "signal-node": "landlock-6",
        "terminate-bystander": "landlock-6",
        "terminate-bystander-by-node": "landlock-6",
        "terminate-neighbour": "landlock-6",
    },
)
"""Whoever finds a hole in Deno, or in V8, stands before these walls."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def permitted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Land]:
    """Confined, with all permissions of Deno's."""
    path = str(Path(__file__).with_name("permissive"))
    async with land(tmp_path_factory.mktemp("permitted"), LANGUAGE, PYTHONPATH=path) as there:
        yield there


@pytest.mark.parametrize("probe", SUITE.names)
async def test_typescript_function_cannot(probe: str, unconfined: Land, confined: Land, permitted: Land) -> None:
    await SUITE.comes_through(probe, unconfined)
    await SUITE.is_held(probe, confined)
    await BEHIND_PERMISSIONS.is_held(probe, permitted)


async def test_all_typescript_probes_are_made(confined: Land) -> None:
    assert await confined.probes() == sorted(SUITE.names)
    assert len(SUITE.names) - len(SUITE.named_in_docs) >= 30
