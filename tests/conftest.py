import gc
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support import postgres as support

LONGEST_FIRST = (
    "cli/test_command_line.py",
    "endurance/test_oneshot_leftovers.py",
    "cli/test_node_commands.py",
    "behaviour/test_seed_functions.py",
    "supervisor/test_shutdown.py",
    "limits/test_beforeunload.py",
    "bench/test_bench.py",
    "behaviour/test_cut_off.py",
    "python_engine/test_served.py",
    "behaviour/test_python_applications.py",
    "limits/test_kills.py",
    "python_guest/test_python_guest_life.py",
    "behaviour/test_boot_errors.py",
    "gateway/test_streaming.py",
    "limits/test_scale_and_replacement.py",
    "endurance/test_every_task_once.py",
    "endurance/test_steady_load.py",
    "cli_demo/test_demo.py",
    "docs/test_testing.py",
    "python_engine/test_indexes.py",
    "test_service_manager.py",
)
"""Files that take 10 s and more. Begun last, one of them would keep one process busy when the other has ended."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: to look for garbage among it, again and again, is a fifth of the time that it takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[support.Server]:
    """A PostgreSQL server, started when the first test asks for it."""
    async with support.serving() as server:
        yield server
