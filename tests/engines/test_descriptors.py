import asyncio
import gc
import os

import uvloop

from outlast.engines.descriptors import read_all

MORE_THAN_FITS = b"x" * 100_000
"""Into a pipe: that it has been written means that the other end is being read."""


async def test_all_is_read() -> None:
    read, write = os.pipe()
    reading = asyncio.ensure_future(read_all(read))
    for _ in range(3):
        await asyncio.to_thread(os.write, write, MORE_THAN_FITS)
    os.close(write)
    assert await reading == 3 * MORE_THAN_FITS


def test_a_reading_that_nobody_waits_for_is_never_collected() -> None:
    # The collector closes what it finds, in any thread. A pipe that is closed while uvloop reads from it ends the node.
    async def forget() -> None:
        read, write = os.pipe()
        asyncio.gather(read_all(read))
        await asyncio.to_thread(os.write, write, MORE_THAN_FITS)
        gc.collect()
        # This fails if nobody can read it.
        os.write(write, b"still read")
        os.close(write)
        [reading] = asyncio.all_tasks() - {asyncio.current_task()}
        assert await reading == MORE_THAN_FITS + b"still read"

    uvloop.run(forget())
