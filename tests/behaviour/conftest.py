"""Every rule is written once and holds for every language: sources are looked up by function name and language."""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.behaviour.served import LANGUAGES, Served, assemble, served

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(
    request: pytest.FixtureRequest, language: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The functions that the module names in ``FUNCTIONS``, served with its ``ARGUMENTS`` for all of its tests."""
    project = assemble(tmp_path_factory.mktemp("site"), language, request.module.FUNCTIONS)
    async with served(project, *getattr(request.module, "ARGUMENTS", ())) as site:
        yield site


@pytest.fixture
def work() -> str:
    """A name for work that no other test uses."""
    return f"work-{next(_numbers)}"
