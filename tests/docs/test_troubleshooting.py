"""docs/troubleshooting.md shows what `outlast tasks` prints of tasks that end in each way there is."""

from collections.abc import Mapping

import pytest
import pytest_asyncio
from tests.docs import troubleshooting
from tests.support import postgres

from outlast.core.outcome import EndReason, TaskOutcome

SHOWN = troubleshooting.blocks(troubleshooting.PAGE.read_text())
ENDS = {
    "open",
    *(outcome.replace("_", " ") for outcome in TaskOutcome if outcome is not TaskOutcome.INTERRUPTED),
    *(f"interrupted ({reason})" for reason in EndReason),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def printed(postgres: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return await troubleshooting.every_end(tmp_path_factory.mktemp("shop"), await postgres.new_database())


def test_every_end_is_shown() -> None:
    assert SHOWN.keys() == {*ENDS, troubleshooting.LISTING}


@pytest.mark.parametrize("end", sorted(SHOWN))
def test_what_is_shown_is_what_is_printed(end: str, printed: Mapping[str, str]) -> None:
    assert troubleshooting.comparable(SHOWN[end]) == troubleshooting.comparable(printed[end]), (
        "python -m tests.docs.troubleshooting --write"
    )
