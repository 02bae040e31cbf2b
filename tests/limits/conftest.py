"""Functions that come near their limits, each rule written once for both languages."""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.behaviour.served import LANGUAGES, Served
from tests.limits.limited import serving_limited

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(
    request: pytest.FixtureRequest, language: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The functions that the module's ``FUNCTIONS`` have limits for, for all of its tests."""
    module = request.module
    options = {
        name.lower(): getattr(module, name) for name in ("SOURCE", "EVERY", "ARGUMENTS") if hasattr(module, name)
    }
    async with serving_limited(tmp_path_factory.mktemp("site"), language, module.FUNCTIONS, **options) as site:
        yield site


@pytest.fixture
def work() -> str:
    """A name for work that no other test uses."""
    return f"work-{next(_numbers)}"
