from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support import postgres as support


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[support.Server]:
    """A PostgreSQL server, started when the first test asks for it."""
    async with support.serving() as server:
        yield server
