import gc
import signal
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support import postgres as support

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # nohup(1) runs these tests. What they start would ignore the signal, too; a handler is not handed down.
    signal.signal(signal.SIGHUP, lambda *_: None)

LONGEST_FIRST = (
    "endurance/test_oneshot_leftovers.py",
    "test_service_manager.py",
    "python_engine/test_indexes.py",
    "behaviour/test_seed_functions.py",
    "supervisor/test_shutdown.py",
    "limits/test_beforeunload.py",
    "bench/test_bench.py",
    "behaviour/test_cut_off.py",
    "cli/test_command_line.py",
    "endurance/test_steady_load.py",
    "docs/test_testing.py",
    "python_engine/test_served.py",
    "limits/test_kills.py",
    "cli_demo/test_demo.py",
    "endurance/test_neighbours.py",
    "supervisor/test_reload.py",
    "admin/test_access.py",
    "behaviour/test_python_applications.py",
    "python_guest/test_python_guest_life.py",
    "limits/test_scale_and_replacement.py",
    "endurance/test_every_task_once.py",
    "gateway/test_streaming.py",
    "behaviour/test_boot_errors.py",
    "escape/test_python_escapes.py",
    "escape/test_typescript_escapes.py",
    "database/test_embedded.py",
    "docs/test_troubleshooting.py",
    "testing/test_testing_kit.py",
    "testing/test_testing_server.py",
)
"""Files that take 5 s and more. Begun last, one of them would keep one process busy when the others have ended."""


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
