"""The log goes on whoever reads it, and however slowly."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.node import serving, write_project

from outlast.cli import output
from outlast.cli.output import Lines
from outlast.telemetry.pressure import Pressure

LINE = "x" * 1023 + "\n"


class Reader:
    """The other end of a pipe."""

    def __init__(self) -> None:
        self.descriptor, self.write_end = os.pipe()
        os.set_blocking(self.descriptor, False)

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                data += os.read(self.descriptor, 1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
        return data


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    os.close(reader.descriptor)
    os.close(reader.write_end)


async def test_a_reader_that_stands_still_stops_nobody_and_finds_everything(reader: Reader) -> None:
    pressure = Pressure()
    lines = Lines(reader.write_end, "utf-8", pressure)
    caught_up = asyncio.Event()
    count = output.MUCH // len(LINE) + 200
    for number in range(count):
        lines.write(f"{number:07}{LINE[7:]}")
    lines.flush()
    assert pressure.is_high
    pressure.when_low(caught_up.set)
    data = await asyncio.wait_for(reader.read(count * len(LINE)), 20)
    await asyncio.wait_for(caught_up.wait(), 20)
    assert not pressure.is_high
    assert [int(line[:7]) for line in data.splitlines()] == list(range(count))
    assert lines.lost == 0


async def test_what_is_too_much_is_lost_and_counted(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "TOO_MUCH", 1 << 20)
    told: asyncio.Queue[int] = asyncio.Queue()
    lines = Lines(reader.write_end, "utf-8", Pressure(), told.put_nowait)
    count = 3 * output.TOO_MUCH // len(LINE)
    for _ in range(count):
        lines.write(LINE)
        lines.flush()
    assert 0 < lines.lost < count
    assert told.empty()
    await asyncio.wait_for(reader.read((count - lines.lost) * len(LINE)), 20)
    assert await asyncio.wait_for(told.get(), 20) == lines.lost


async def test_what_is_too_much_at_once_is_counted_too(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was unsent before, and nothing is afterwards."""
    monkeypatch.setattr(output, "TOO_MUCH", 1 << 16)
    told: asyncio.Queue[int] = asyncio.Queue()
    lines = Lines(reader.write_end, "utf-8", Pressure(), told.put_nowait)
    count = 2 * output.TOO_MUCH // len(LINE)
    for _ in range(count):
        lines.write(LINE)
    lines.flush()
    assert lines.lost == count
    assert told.get_nowait() == count


async def test_the_last_lines_are_waited_for(reader: Reader) -> None:
    lines = Lines(reader.write_end, "utf-8", Pressure())
    count = 1000
    reading = asyncio.get_running_loop().run_in_executor(None, _read_slowly, reader.descriptor, count * len(LINE))
    for _ in range(count):
        lines.write(LINE)
    lines.close()
    assert await asyncio.wait_for(reading, 20) == count * len(LINE)


def _read_slowly(descriptor: int, wanted: int) -> int:
    os.set_blocking(descriptor, True)
    count = 0
    while count < wanted:
        count += len(os.read(descriptor, 8192))
    return count


async def test_nobody_who_shares_the_pipe_is_made_not_to_wait(reader: Reader) -> None:
    assert stat.S_ISFIFO(os.fstat(reader.write_end).st_mode)
    Lines(reader.write_end, "utf-8", Pressure()).write("")
    assert os.get_blocking(reader.write_end)


async def test_without_a_reader_lines_are_lost(reader: Reader) -> None:
    spare, write_end = os.pipe()
    told: asyncio.Queue[int] = asyncio.Queue()
    lines = Lines(write_end, "utf-8", Pressure(), told.put_nowait)
    os.close(spare)
    lines.write(LINE * 3)
    lines.flush()
    assert lines.lost == 3
    # Nobody would read it.
    assert told.empty()
    os.close(write_end)


FLOOD = """
Deno.serve(() => {
  EdgeRuntime.waitUntil((async () => {
    for (;;) {
      for (let n = 0; n < 100; n++) console.log("x".repeat(1000));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  })());
  return new Response("begun");
});
"""


async def test_a_flood_of_prints_that_nobody_reads_stops_no_other_function(tmp_path: Path) -> None:
    functions = {"flood": FLOOD, "quiet": 'Deno.serve(() => new Response("quiet"));'}
    unlimited = "[limits]\ncpu_soft_ms = 0\ncpu_hard_ms = 0\nmemory_mb = 0\n"
    project = write_project(tmp_path, functions, outlast=unlimited)
    async with serving(project, "--graceful-exit-timeout=0") as node:
        async with httpx.AsyncClient(base_url=node.url, timeout=20) as client:
            transport = node.process.stdout._transport  # type: ignore[union-attr]
            assert (await client.get("/functions/v1/quiet")).text == "quiet"
            transport.pause_reading()
            assert (await client.get("/functions/v1/flood")).text == "begun"
            for _ in range(100):
                assert (await client.get("/functions/v1/quiet")).text == "quiet"
            transport.resume_reading()
        await node.wait_for("log", function="flood")
