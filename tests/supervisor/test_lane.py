"""Both ends of a lane, on real sockets."""

import asyncio
import contextlib
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
import uvloop

from outlast.engines.python.lane import Connection as WorkerConnection
from outlast.engines.python.lane import Lane as WorkerLane
from outlast.supervisor.lane import Connection, Lane
from outlast.wire.lanes import CLOSE, DATA, HEADER, MAX_ON_LANE, MOVE

PATIENCE_S = 20
MUCH = bytes(range(256)) * 16 * 1024
assert len(MUCH) > 8 * MAX_ON_LANE


def refuse(why: str) -> None:
    raise AssertionError(why)


class End(asyncio.Protocol):
    """Remembers what it is told."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.got = bytearray()
        self.is_lost = self.is_paused = False
        self.news = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._tell()

    def data_received(self, data: bytes) -> None:
        assert not self.is_lost
        self.got += data
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.is_lost
        self.is_lost = True
        self._tell()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._tell()

    def _tell(self) -> None:
        async def tell() -> None:
            async with self.news:
                self.news.notify_all()

        self._telling.add(asyncio.create_task(tell()))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.news:
            await asyncio.wait_for(self.news.wait_for(condition), PATIENCE_S)

    async def has(self, data: bytes) -> None:
        await self.until(lambda: len(self.got) >= len(data))
        assert self.got == data

    async def lost(self) -> None:
        await self.until(lambda: self.is_lost)

    async def transport_works(self, other: "End") -> None:
        before = bytes(other.got)
        self.transport.write(b"news")
        await other.has(before + b"news")


class Pair:
    def __init__(self, node: Lane, served: asyncio.Queue[End]) -> None:
        self.node = node
        self._served = served
        self._opening = asyncio.Lock()

    async def opened(self) -> tuple[End, End]:
        """A new connection, on which the worker has got a request: its ends at node and worker."""
        ours = End()
        async with self._opening:
            self.node.open(ours)
            ours.transport.write(b"request")
            return ours, await self.accepted(b"request")

    async def accepted(self, data: bytes) -> End:
        """The worker's end of the next connection, which begins with ``data``."""
        theirs = await asyncio.wait_for(self._served.get(), PATIENCE_S)
        await theirs.has(data)
        return theirs


@pytest.fixture
def failures() -> list[str]:
    """Why connections were closed, as it is told at the node."""
    return []


@pytest.fixture
async def pair(failures: list[str]) -> AsyncIterator[Pair]:
    served: asyncio.Queue[End] = asyncio.Queue()
    connections: dict[int, WorkerConnection] = {}

    def serve() -> End:
        served.put_nowait(end := End())
        return end

    # The paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        path = f"{folder}/lane.sock"
        worker = await asyncio.get_running_loop().create_unix_server(lambda: WorkerLane(connections, serve), path)
        node = Lane(failures.append)
        await node.connect(path)
        yield Pair(node, served)
        node.close()
        worker.close()
    assert failures == []


async def test_short_responses_stay_on_the_lane(pair: Pair) -> None:
    ours, theirs = await pair.opened()
    for count in range(1, 4):
        theirs.transport.write(MUCH[:MAX_ON_LANE])
        await ours.has(MUCH[:MAX_ON_LANE])
        ours.got.clear()
        ours.transport.write(b"request")
        await theirs.has(b"request" * (count + 1))
    assert isinstance(ours.transport, Connection)


@pytest.mark.parametrize("size", [len(MUCH), 100_000, 1000])
async def test_a_long_one_moves_to_a_socket_of_its_own(pair: Pair, size: int) -> None:
    ours, theirs = await pair.opened()
    for start in range(0, len(MUCH), size):
        theirs.transport.write(MUCH[start : start + size])
    assert theirs.is_paused
    await ours.has(MUCH)
    assert not theirs.is_paused
    assert not isinstance(ours.transport, Connection)
    # It serves further requests there.
    ours.got.clear()
    ours.transport.write(b"another")
    await theirs.has(b"requestanother")
    theirs.transport.write(b"response")
    await ours.has(b"response")


async def test_a_connection_that_is_read_slowly_stops_no_other_one(pair: Pair) -> None:
    ours, theirs = await pair.opened()
    ours.transport.pause_reading()
    theirs.transport.write(MUCH[:100_000])
    theirs.transport.write(MUCH[100_000:])
    other, its = await pair.opened()
    its.transport.write(b"response")
    # It has come behind all that the first one may send.
    await other.has(b"response")
    assert not ours.got
    ours.transport.resume_reading()
    await ours.has(MUCH)


async def test_one_that_is_paused_while_it_moves_stays_paused(pair: Pair) -> None:
    ours, theirs = await pair.opened()
    theirs.transport.write(MUCH[:1000])
    await ours.has(MUCH[:1000])
    ours.transport.pause_reading()
    theirs.transport.write(MUCH[1000:])
    on_lane = ours.transport
    await ours.until(lambda: ours.transport is not on_lane)
    assert not ours.transport.is_reading()
    ours.transport.resume_reading()
    await ours.has(MUCH)


@pytest.mark.parametrize("response", [MUCH[:1000], MUCH], ids=["short", "long"])
async def test_a_worker_closes_behind_what_it_has_written(pair: Pair, response: bytes) -> None:
    ours, theirs = await pair.opened()
    theirs.transport.write(response)
    theirs.transport.close()
    assert theirs.transport.is_closing()
    theirs.transport.write(b"never")
    await ours.lost()
    assert ours.got == response
    await theirs.lost()


async def test_the_end_waits_behind_what_is_held(pair: Pair) -> None:
    ours, theirs = await pair.opened()
    ours.transport.pause_reading()
    theirs.transport.write(MUCH[:1000])
    theirs.transport.close()
    other, its = await pair.opened()
    await its.transport_works(other)
    assert not ours.is_lost
    ours.transport.resume_reading()
    await ours.lost()
    assert ours.got == MUCH[:1000]


async def test_a_node_closes_and_discards_what_was_still_to_come(pair: Pair) -> None:
    ours, theirs = await pair.opened()
    ours.transport.pause_reading()
    theirs.transport.write(MUCH[:1000])
    other, its = await pair.opened()
    await its.transport_works(other)
    ours.transport.abort()
    ours.transport.resume_reading()
    # It does not know yet.
    theirs.transport.write(MUCH)
    await theirs.lost()
    await ours.lost()
    assert not ours.got
    # That was for nobody.
    await its.transport_works(other)


async def test_one_that_cannot_move_is_closed_and_says_why(
    pair: Pair, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = await pair.opened()
    monkeypatch.setattr(pair.node, "path", pair.node.path + "-none")
    theirs.transport.write(MUCH)
    await ours.lost()
    await theirs.lost()
    assert failures == ["no socket could be opened for a long response: No such file or directory"]
    failures.clear()
    other, its = await pair.opened()
    await its.transport_works(other)


async def test_one_whose_new_socket_the_worker_does_not_take_is_closed_at_both_ends(
    pair: Pair, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast(asyncio.Transport, transport).abort()

    ours, theirs = await pair.opened()
    path = pair.node.path + "-full"
    server = await asyncio.get_running_loop().create_unix_server(Refusing, path)
    monkeypatch.setattr(pair.node, "path", path)
    theirs.transport.write(MUCH)
    await ours.lost()
    await theirs.lost()
    server.close()
    assert failures == ["no socket could be opened for a long response: the worker has not taken it"]
    failures.clear()
    other, its = await pair.opened()
    await its.transport_works(other)


@pytest.mark.parametrize("turns", range(4))
async def test_a_node_closes_one_that_is_about_to_move(pair: Pair, turns: int) -> None:
    ours, theirs = await pair.opened()
    theirs.transport.write(MUCH)
    for _ in range(turns):
        await asyncio.sleep(0)
    ours.transport.abort()
    await theirs.lost()
    await ours.lost()
    assert MUCH.startswith(ours.got)
    other, its = await pair.opened()
    await its.transport_works(other)


async def test_the_rest_of_what_a_worker_has_closed_opens_no_connection(pair: Pair) -> None:
    _, writer = await asyncio.open_unix_connection(pair.node.path)
    writer.write(HEADER.pack(DATA, 1, 20) + b"request, ")
    theirs = await pair.accepted(b"request, ")
    theirs.transport.close()
    await theirs.lost()
    writer.write(b"and its end" + HEADER.pack(DATA, 2, 4) + b"next")
    await pair.accepted(b"next")
    writer.close()


@pytest.mark.parametrize("end", ["the worker's", "the node's"])
async def test_an_end_that_goes_takes_all_connections_with_it(pair: Pair, end: str) -> None:
    ends = [*await pair.opened(), *await pair.opened()]
    if end == "the node's":
        pair.node.close()
    else:
        cast(WorkerConnection, ends[1].transport).lane._transport.abort()
    for one in ends:
        await one.lost()
        assert one.transport.is_closing()
    assert not pair.node.is_clear


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_each_gets_its_own_bytes_in_order(pair: Pair, seed: int) -> None:
    chance = random.Random(seed)

    async def call(number: int) -> None:
        ours, theirs = await pair.opened()
        for turn in range(3):
            response = random.Random(seed * 1000 + number * 10 + turn).randbytes(
                chance.choice([1, 1000, 300_000, 900_000])
            )
            sent = 0
            while sent < len(response):
                size = chance.randint(1, 200_000)
                theirs.transport.write(response[sent : sent + size])
                sent += size
                if chance.random() < 0.3:
                    ours.transport.pause_reading()
                for _ in range(chance.randint(0, 3)):
                    await asyncio.sleep(0)
                if chance.random() < 0.05:
                    ours.transport.abort()
                    await ours.lost()
                    assert response.startswith(ours.got)
                    await theirs.lost()
                    return
                if not ours.transport.is_reading():
                    ours.transport.resume_reading()
            ours.transport.resume_reading()
            await ours.has(response)
            ours.got.clear()
            theirs.got.clear()
            ours.transport.write(b"next")
            await theirs.has(b"next")
        theirs.transport.close()
        await ours.lost()

    async with asyncio.TaskGroup() as calls:
        for number in range(12):
            calls.create_task(call(number))


@contextlib.asynccontextmanager
async def with_raw_worker(
    on_failure: Callable[[str], None] = refuse,
) -> AsyncIterator[tuple[Lane, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A lane whose other end is the test's."""
    ours, theirs = socket.socketpair()
    node = Lane(on_failure)
    await asyncio.get_running_loop().create_connection(lambda: node, sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    yield node, reader, writer
    node.close()
    writer.close()


async def test_what_is_for_no_connection_is_ignored() -> None:
    async with with_raw_worker() as (node, reader, writer):
        node.open(end := End())
        end.transport.write(b"request")
        assert await reader.readexactly(HEADER.size + 7) == HEADER.pack(DATA, 1, 7) + b"request"
        writer.write(HEADER.pack(DATA, 7, 3) + b"abc" + HEADER.pack(CLOSE, 8, 0) + HEADER.pack(DATA, 1, 1) + b"!")
        await end.has(b"!")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "there is no frame of kind 72"),
        (HEADER.pack(DATA, 1, MAX_ON_LANE + 1) + bytes(MAX_ON_LANE + 1), "more than 262144 bytes of a response"),
        (HEADER.pack(MOVE, 1, 0) + HEADER.pack(DATA, 1, 1) + b"!", "content behind its end"),
    ],
    ids=["no frame", "more than it may", "something behind the last"],
)
async def test_a_worker_that_does_not_keep_to_it_loses_its_lane(said: bytes, what: str) -> None:
    failures: list[str] = []
    async with with_raw_worker(failures.append) as (node, reader, writer):
        node.open(end := End())
        end.transport.write(b"request")
        end.transport.pause_reading()
        writer.write(said)
        await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert not node.is_clear
        end.transport.resume_reading()
        await end.lost()
    assert failures[0] == what


def test_a_lane_that_is_full_is_not_clear_until_the_worker_reads() -> None:
    async def test() -> None:
        async with with_raw_worker() as (node, reader, _):
            cleared, resume = asyncio.Event(), node.resume_writing

            def resume_and_tell() -> None:
                resume()
                cleared.set()

            node.resume_writing = resume_and_tell  # type: ignore[method-assign]
            node.open(end := End())
            sent = 0
            while node.is_clear:
                end.transport.write(MUCH[:50_000])
                sent += HEADER.size + 50_000
            assert not cleared.is_set()
            await asyncio.wait_for(reader.readexactly(sent), PATIENCE_S)
            await asyncio.wait_for(cleared.wait(), PATIENCE_S)
            assert node.is_clear

    # The node's event loop is not the one of these tests.
    uvloop.run(test())
