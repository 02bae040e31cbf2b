from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from outlast.ledger.ledger import Ledger
from outlast.ledger.memory import MemoryLedger


@pytest_asyncio.fixture(params=["memory"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    """Each of the ledgers, empty."""
    yield MemoryLedger()
