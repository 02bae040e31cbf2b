"""How requests come to a worker whose kept connections may have closed meanwhile."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from tests.supervisor.stub_workers import PATIENCE_S, Caller

from outlast.core.errors import OutlastError
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.traffic import Traffic
from outlast.wire.invocation import Invocation

HEAD = b"POST /stub HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


class Served:
    """A worker's traffic, with what its server reads. Implements `outlast.supervisor.traffic.Owner`."""

    def __init__(self, path: Path) -> None:
        self.traffic = Traffic("the-worker", self, 0)
        self.traffic.serve_by(str(path))
        self.connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.left: list[int] = []
        self.unreached: asyncio.Queue[Exchange] = asyncio.Queue()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.put_nowait((reader, writer))

    def request_ended(self, left: int) -> None:
        self.left.append(left)

    def unreachable(self, exchange: Exchange) -> None:
        self.unreached.put_nowait(exchange)

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        raise AssertionError(request_id) from error

    def carry(self) -> tuple[Exchange, Caller]:
        caller = Caller()
        invocation = Invocation("stub", "r-1", b"POST", HEAD)
        exchange = Exchange(None, invocation, caller, b"body", True, 0)  # type: ignore[arg-type]
        self.traffic.carry(exchange)
        return exchange, caller

    async def answer(self) -> socket.socket:
        """Answers the first request of the next connection. Returns another handle on that connection."""
        reader, writer = await asyncio.wait_for(self.connections.get(), PATIENCE_S)
        assert await asyncio.wait_for(reader.readexactly(len(HEAD) + 4), PATIENCE_S) == HEAD + b"body"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Served, asyncio.Server]]:
    # The paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        path = Path(folder) / "http.sock"
        there = Served(path)
        server = await asyncio.start_unix_server(there.accept, str(path))
        yield there, server
        there.traffic._close_free()
        server.close()


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
