"""How requests come to a worker whose kept connections may have closed meanwhile."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop
from tests.supervisor.stub_workers import PATIENCE_S, Caller

from outlast.core.errors import OutlastError
from outlast.core.outcome import RequestEnd
from outlast.engines.python.lane import Connection as LaneConnection
from outlast.engines.python.lane import Lane
from outlast.supervisor import traffic
from outlast.supervisor.exchange import MAX_HELD, Exchange
from outlast.supervisor.traffic import Traffic
from outlast.wire.invocation import Invocation
from outlast.wire.lanes import MAX_ON_LANE

HEAD = b"POST /stub HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
LARGE = b"x" * (MAX_HELD + 1)


class Sender(Caller):
    """Remembers what it was told of its body."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def proceed(self) -> None:
        self.told.append("proceed")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


class Served:
    """A worker's traffic, with what its server reads. Implements `outlast.supervisor.traffic.Owner`."""

    def __init__(self) -> None:
        self.traffic = Traffic("the-worker", self, 0)
        self.connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.on_lane: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.lane_connections: dict[int, LaneConnection] = {}
        self.left: list[int] = []
        self.unreached: asyncio.Queue[Exchange] = asyncio.Queue()

    def accept_lane(self) -> Lane:
        def connection() -> asyncio.Protocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.accept_on_lane)

        self.lane = Lane(self.lane_connections, connection)
        return self.lane

    def accept_on_lane(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.on_lane.put_nowait((reader, writer))

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.put_nowait((reader, writer))

    def request_ended(self, left: int) -> None:
        self.left.append(left)

    def unreachable(self, exchange: Exchange, why: str) -> None:
        self.unreached.put_nowait(exchange)

    def request_abandoned(self, request_id: str) -> None:
        raise AssertionError(request_id)

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        raise AssertionError(request_id) from error

    def lane_failed(self, why: str) -> None:
        raise AssertionError(why)

    def carry(self, body: bytes = b"body", *, complete: bool = True, upgrades: bool = False) -> tuple[Exchange, Sender]:
        caller = Sender()
        invocation = Invocation("r-1", b"POST", HEAD, upgrades=upgrades)
        exchange = Exchange(None, invocation, caller, body, complete, 0)  # type: ignore[arg-type]
        self.traffic.carry(exchange)
        return exchange, caller

    async def answer(self, body: bytes = b"body") -> socket.socket:
        """Answers the first request of the next connection. Returns another handle on that connection."""
        reader, writer = await asyncio.wait_for(self.connections.get(), PATIENCE_S)
        assert await asyncio.wait_for(reader.readexactly(len(HEAD + body)), PATIENCE_S) == HEAD + body
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))

    @property
    def transport_of_lane(self) -> asyncio.Transport:
        return self.lane._transport

    def cut_lane(self) -> None:
        """The node's event loop has not heard of it when this returns."""
        with socket.socket(fileno=os.dup(self.transport_of_lane.get_extra_info("socket").fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    async def answer_on_lane(self) -> None:
        """Answers a request. Connections on the lane are taken in the order of their opening, again and again."""
        reader, writer = await asyncio.wait_for(self.on_lane.get(), PATIENCE_S)
        self.on_lane.put_nowait((reader, writer))
        assert await asyncio.wait_for(reader.readexactly(len(HEAD + b"body")), PATIENCE_S) == HEAD + b"body"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Served, asyncio.Server]]:
    # The paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        path = Path(folder) / "http.sock"
        there = Served()
        there.traffic.serve_by(str(path))
        server = await asyncio.start_unix_server(there.accept, str(path))
        yield there, server
        there.traffic._close_free()
        server.close()


@asynccontextmanager
async def served_by_lane() -> AsyncIterator[Served]:
    """The same, of a worker that has a lane, too, which is open."""
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        path = Path(folder) / "http.sock"
        there = Served()
        server = await asyncio.start_unix_server(there.accept, str(path))
        lanes = await asyncio.get_running_loop().create_unix_server(there.accept_lane, str(path.with_name("lane.sock")))
        there.traffic.open_ahead(str(path))
        assert there.traffic._ahead is not None
        await there.traffic._ahead
        yield there
        there.traffic._close_free()
        server.close()
        lanes.close()


async def closed_connection(there: Served) -> None:
    """Has it keep a connection that its other end has just closed, of which the event loop has not heard yet."""
    _, caller = there.carry()
    with await there.answer() as connection:
        assert await caller.end() == 200
        connection.shutdown(socket.SHUT_RDWR)


# The node's event loop is not the one of these tests.


def test_a_request_for_which_a_kept_connection_is_closed_is_sent_by_another_one() -> None:
    async def test() -> None:
        async with served() as (there, _):
            await closed_connection(there)
            exchange, caller = there.carry()
            assert (exchange.sent, exchange.link) == (False, None)
            (await there.answer()).close()
            assert await caller.end() == 200
            assert there.left == [0, 0]

    uvloop.run(test())


@pytest.mark.parametrize(
    ("begun", "rest", "told"),
    [
        (b"", b"body", ["proceed", "pause", "resume"]),
        (b"bo", b"dy", ["proceed", "pause", "resume"]),
        (LARGE, b"body", ["pause", "resume", "pause", "resume"]),
        (b"bo", LARGE, ["proceed", "pause", "resume"]),
    ],
)
def test_one_whose_body_is_still_coming_as_well(begun: bytes, rest: bytes, told: list[str]) -> None:
    async def test() -> None:
        async with served() as (there, _):
            await closed_connection(there)
            exchange, caller = there.carry(begun, complete=False)
            assert (exchange.sent, exchange.link) == (False, None)
            # What was already on its way when it was told to wait.
            exchange.write(rest)
            exchange.finish()
            (await there.answer(begun + rest)).close()
            assert await caller.end() == 200
            assert caller.told == told
            assert there.left == [0, 0]

    uvloop.run(test())


def test_a_request_that_no_connection_can_send_is_given_back() -> None:
    async def test() -> None:
        async with served() as (there, server):
            await closed_connection(there)
            server.close()
            exchange, caller = there.carry()
            assert await asyncio.wait_for(there.unreached.get(), PATIENCE_S) is exchange
            assert not (exchange.sent or exchange.ended or caller.ended.done())
            assert there.left == [0, 0]

    uvloop.run(test())


def test_what_is_short_goes_by_the_lane_and_what_is_not_by_a_socket() -> None:
    async def test() -> None:
        async with served_by_lane() as there:
            for _ in range(2):
                _, caller = there.carry()
                await there.answer_on_lane()
                assert await caller.end() == 200
            assert there.on_lane.qsize() == 1
            for exchange, caller in (
                there.carry(LARGE),
                there.carry(b"bo", complete=False),
                there.carry(b"", upgrades=True),
            ):
                reader, writer = await asyncio.wait_for(there.connections.get(), PATIENCE_S)
                await asyncio.wait_for(reader.readexactly(len(HEAD)), PATIENCE_S)
                writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                assert await caller.end() == 204
                assert exchange.sent
            assert there.on_lane.qsize() == 1

    uvloop.run(test())


@pytest.mark.parametrize("kept", [0, 2])
def test_a_request_for_which_the_lane_is_closed_goes_by_a_socket(kept: int) -> None:
    async def test() -> None:
        async with served_by_lane() as there:
            callers = [there.carry()[1] for _ in range(kept)]
            for caller in callers:
                await there.answer_on_lane()
                assert await caller.end() == 200
            there.cut_lane()
            exchange, caller = there.carry()
            assert (exchange.sent, exchange.link) == (False, None)
            (await there.answer()).close()
            assert await caller.end() == 200
            assert there.left == [*reversed(range(kept)), 0]

    uvloop.run(test())


def test_a_request_for_which_the_lane_is_full_goes_by_a_socket() -> None:
    async def test() -> None:
        async with served_by_lane() as there:
            there.transport_of_lane.pause_reading()
            waiting = []
            while there.traffic._lane is not None and there.traffic._lane.is_clear:
                waiting.append(there.carry()[1])
            _, caller = there.carry()
            (await there.answer()).close()
            assert await caller.end() == 200
            there.transport_of_lane.resume_reading()
            # All are open before one is taken a second time.
            for opened in [await asyncio.wait_for(there.on_lane.get(), PATIENCE_S) for _ in waiting]:
                there.on_lane.put_nowait(opened)
            for caller in waiting:
                await there.answer_on_lane()
                assert await caller.end() == 200

    uvloop.run(test())


def test_the_socket_that_a_long_response_has_moved_to_is_closed_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = asyncio.Event()

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MAX_ON_LANE)
            self.transport.write(bytes(MAX_ON_LANE))

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    async def test() -> None:
        async with served_by_lane() as there:
            monkeypatch.setattr(there.lane, "_serve", Answering)
            _, caller = there.carry()
            assert await caller.end() == 200
            await asyncio.wait_for(lost.wait(), PATIENCE_S)
            assert there.left == [0]

    uvloop.run(test())


def test_a_lane_that_breaks_cuts_off_the_requests_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "LOST_GRACE_S", 0)

    async def test() -> None:
        async with served_by_lane() as there:
            exchange, caller = there.carry()
            await asyncio.wait_for(there.on_lane.get(), PATIENCE_S)
            there.cut_lane()
            assert await caller.end() is RequestEnd.WORKER_ERROR
            assert exchange.sent
            (_, caller) = there.carry()
            (await there.answer()).close()
            assert await caller.end() == 200

    uvloop.run(test())


def test_what_has_come_for_a_client_that_reads_slowly_outlives_the_lane() -> None:
    async def test() -> None:
        async with served_by_lane() as there:
            exchange, caller = there.carry()
            _, other = there.carry()
            reader, writer = await asyncio.wait_for(there.on_lane.get(), PATIENCE_S)
            exchange.pause()
            await asyncio.wait_for(reader.readexactly(len(HEAD + b"body")), PATIENCE_S)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody")
            await there.answer_on_lane()
            # It has come behind that.
            assert await other.end() == 200
            there.cut_lane()
            _, other = there.carry()
            (await there.answer()).close()
            assert await other.end() == 200
            exchange.resume()
            assert await caller.end() == 200
            assert there.left[-1] == 0

    uvloop.run(test())
