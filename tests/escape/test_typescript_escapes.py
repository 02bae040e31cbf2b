"""What a TypeScript function tries, and what stops it: Deno's permissions, or else the walls behind them."""

import pytest
from tests.escape import probing
from tests.escape.land import Land
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


@pytest.mark.parametrize("probe", SUITE.names)
async def test_typescript_function_cannot(probe: str, unconfined: Land, confined: Land) -> None:
    await SUITE.judge(probe, unconfined, confined)


async def test_all_typescript_probes_are_made(confined: Land) -> None:
    assert await confined.probes() == sorted(SUITE.names)
    assert len(SUITE.names) - len(SUITE.named_in_docs) >= 30
