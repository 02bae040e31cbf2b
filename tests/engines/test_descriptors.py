import asyncio
import gc
import os

import uvloop

from outlast.engines.descriptors import read_all


async def test_all_is_read() -> None:
    read, write = os.pipe()
    reading = asyncio.ensure_future(read_all(read))
    await _take_turns()
    for _ in range(3):
        # More than fits into a pipe at once.
        await asyncio.to_thread(os.write, write, b"x" * 100_000)
    os.close(write)
    assert await reading == b"x" * 300_000


def test_a_reading_that_nobody_waits_for_is_never_collected() -> None:
    # The collector closes what it finds, in any thread. A pipe that is closed while uvloop reads from it ends the node.
    async def forget() -> None:
        read, write = os.pipe()
        asyncio.gather(read_all(read))
        await _take_turns()
        gc.collect()
        # This fails if nobody can read it.
        os.write(write, b"still read")
        os.close(write)
        [reading] = asyncio.all_tasks() - {asyncio.current_task()}
        assert await reading == b"still read"

    uvloop.run(forget())


async def _take_turns() -> None:
    """Lets the event loop do what it has been told to, in as many turns as opening a pipe takes it."""
    for _ in range(5):
        await asyncio.sleep(0)
