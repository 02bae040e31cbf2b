"""Every probe is made twice: where nothing holds it, which shows that it is a real one, and within the walls."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.escape.land import UNCONFINED, Land, land


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unconfined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Land]:
    folder = tmp_path_factory.mktemp("unconfined")
    async with land(folder, request.module.LANGUAGE, *UNCONFINED) as there:
        yield there


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def confined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Land]:
    async with land(tmp_path_factory.mktemp("confined"), request.module.LANGUAGE) as there:
        yield there
