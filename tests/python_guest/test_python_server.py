"""The HTTP server inside of Python workers, on a pair of sockets: the test is the node."""

import asyncio
import contextlib
import contextvars
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import Response

from outlast.engines.python import heads, rehearsal
from outlast.engines.python.lane import Connection as LaneConnection
from outlast.engines.python.lane import Lane
from outlast.engines.python.server import Connection, Stream
from outlast.supervisor.lane import Lane as NodeLane
from outlast.wire import http1

App = Callable[[Stream], Awaitable[None]]

GET = b"GET /hello HTTP/1.1\r\nhost: x\r\nsb-request-id: r-1\r\n\r\n"
PATIENCE_S = 20
OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
HERE = contextvars.ContextVar("HERE", default="nowhere")


class Node:
    def __init__(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection = connection
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, until: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(until), PATIENCE_S)

    async def hear_all(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)


def connection_for(app: App) -> Connection:
    def upgrade(transport: asyncio.Transport, data: bytes, request_id: str) -> None:
        transport.write(b"upgraded %b " % request_id.encode() + data)
        transport.close()

    async def serve(stream: Stream) -> None:
        await app(stream)

    return Connection(asyncio.get_running_loop(), serve, upgrade)


@contextlib.asynccontextmanager
async def served(app: App) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, connection = await loop.create_connection(lambda: connection_for(app), sock=theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield Node(connection, reader, writer)
    finally:
        writer.close()
        transport.abort()


class Mobile(asyncio.StreamReaderProtocol):
    """A stream that may move to another transport."""

    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        super().__init__(self.reader)

    def connection_made(self, transport: Any) -> None:
        self.reader._transport = None  # type: ignore[attr-defined]
        super().connection_made(transport)
        self.writer = asyncio.StreamWriter(transport, self, self.reader, asyncio.get_running_loop())


class MobileNode(Node):
    """The same by a lane."""

    def __init__(self, connection: Connection, protocol: Mobile) -> None:
        self.connection = connection
        self.reader = protocol.reader
        self._protocol = protocol

    @property
    def writer(self) -> asyncio.StreamWriter:  # type: ignore[override]
        return self._protocol.writer


@contextlib.asynccontextmanager
async def served_by_lane(app: App) -> AsyncIterator[Node]:
    """The same with the connection on a lane."""
    connection, failures = connection_for(app), list[str]()
    connections: dict[int, LaneConnection] = {}
    # The paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        path = f"{folder}/lane.sock"
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Lane(connections, lambda: connection), path
        )
        lane = NodeLane(failures.append)
        await lane.connect(path)
        lane.open(protocol := Mobile())
        try:
            yield MobileNode(connection, protocol)
        finally:
            protocol.writer.transport.abort()
            lane.close()
            server.close()
    assert failures == []


async def body_of(stream: Stream) -> bytes:
    body = b""
    while True:
        message = await stream.receive()
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(stream: Stream) -> None:
    body = await body_of(stream)
    stream.respond(Response(body))


class TestRequestHeads:
    def test_what_an_application_sees(self) -> None:
        read = heads.request(
            b"POST /hello/a%20b?c=d%20e HTTP/1.1\r\nhost: example.com:8443\r\nX-Twice: 1\r\nx-twice: 2\r\n"
            b"x-forwarded-proto: https\r\nx-outlast-peer: [::1]:4711\r\ncontent-length: 3\r\n"
            b"sb-request-id: r-7\r\ntraceparent: 00-aa-bb-01\r\ntracestate: c=d\r\n\r\n"
        )
        assert (read.id, read.length, read.keep_alive, read.upgrade) == ("r-7", 3, True, b"")
        scope = read.scope
        assert (scope["type"], scope["method"], scope["http_version"], scope["scheme"]) == (
            *("http", "POST", "1.1", "https"),
        )
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/hello/a b", b"/hello/a%20b", b"c=d%20e")
        assert (scope["client"], scope["server"]) == (("::1", 4711), ("example.com", 8443))
        assert [value for name, value in scope["headers"] if name == b"x-twice"] == [b"1", b"2"]
        assert scope["headers"][-3:] == [
            *((b"sb-request-id", b"r-7"), (b"traceparent", b"00-aa-bb-01"), (b"tracestate", b"c=d")),
        ]

    @pytest.mark.parametrize("filler", [b"", b"x-long: " + b"x" * http1.MAX_CACHED_BYTES + b"\r\n"])
    def test_those_that_repeat_share_nothing_that_can_be_changed(self, filler: bytes) -> None:
        head = b"GET /hello HTTP/1.1\r\nhost: x\r\n" + filler + b"sb-request-id: %b\r\n\r\n"
        first = heads.request(head % b"r-1")
        first.scope["headers"].append((b"added", b"1"))
        first.scope["asgi"]["added"] = first.scope["added"] = 1
        second = heads.request(head % b"r-2")
        assert (first.id, second.id) == ("r-1", "r-2")
        assert second.scope["headers"][-1] == (b"sb-request-id", b"r-2")
        assert "added" not in second.scope and "added" not in second.scope["asgi"]

    def test_the_id_may_stand_anywhere_and_may_be_missing(self) -> None:
        first = heads.request(b"GET / HTTP/1.1\r\nsb-request-id: r-1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (first.id, first.keep_alive) == ("r-1", False)
        assert heads.request(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").id == ""

    def test_bodies(self) -> None:
        chunked = heads.request(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nsb-request-id: r\r\n\r\n")
        assert chunked.length == http1.CHUNKED

    @pytest.mark.parametrize(
        "head", [b"nothing\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / 1 2\r\ncontent-length: x\r\n\r\n"]
    )
    def test_what_is_none(self, head: bytes) -> None:
        with pytest.raises(heads.BadRequest):
            heads.request(head)


class TestResponseHeads:
    def test_its_framing(self) -> None:
        fixed = heads.response(200, [(b"Content-Length", b"2")], "GET", True)
        assert fixed.data == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        assert (fixed.length, fixed.keep_alive) == (2, True)
        chunked = heads.response(299, [], "GET", False)
        assert chunked.data == b"HTTP/1.1 299 \r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (chunked.length, chunked.keep_alive) == (http1.CHUNKED, False)
        closing = heads.response(204, [(b"connection", b"close")], "GET", False)
        assert closing.data == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
        assert (closing.length, closing.keep_alive) == (0, False)
        of_head = heads.response(200, [(b"content-length", b"7")], "HEAD", True)
        assert of_head.length == 0 and b"content-length: 7" in of_head.data

    def test_fields_may_be_lists_and_come_only_once(self) -> None:
        fields: Any = iter([[b"content-length", b"2"]])
        assert heads.response(200, fields, "GET", True).length == 2

    @pytest.mark.parametrize(
        "field", [(b"a", b"1\r\nb: 2"), (b"a b", b"1"), (b"", b"1"), (b"a", b"\0"), (b"content-length", b"-1")]
    )
    def test_what_is_none(self, field: tuple[bytes, bytes]) -> None:
        with pytest.raises(heads.BadResponse):
            heads.response(200, [field], "GET", True)


class TestRequests:
    async def test_in_pieces(self) -> None:
        head = b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\nsb-request-id: r-1\r\n\r\n"
        arrived: asyncio.Queue[bytes] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            arrived.put_nowait((await stream.receive())["body"])
            stream.respond(Response(await body_of(stream)))

        async with served(app) as node:
            for piece in (head[:20], head[20:-3], head[-3:] + b"abc"):
                node.connection.data_received(piece)
            assert await asyncio.wait_for(arrived.get(), PATIENCE_S) == b"abc"
            node.say(b"def")
            assert (await node.hear(b"def")).endswith(b"\r\n\r\ndef")

    async def test_one_behind_the_other_on_one_connection_and_none_in_the_context_of_another(self) -> None:
        seen = []

        async def app(stream: Stream) -> None:
            seen.append(HERE.get())
            HERE.set(stream.request_id)
            await echo(stream)

        head = b"POST / HTTP/1.1\r\nhost: x\r\n%b\r\nsb-request-id: %b\r\n\r\n"
        async with served(app) as node:
            node.say(head % (b"content-length: 3", b"r-1") + b"one" + head % (b"transfer-encoding: chunked", b"r-2"))
            assert (await node.hear(b"one")).startswith(b"HTTP/1.1 200 OK\r\n")
            node.say(b"2\r\ntw\r\n1\r\no\r\n0\r\n\r\n" + GET)
            await node.hear(b"\r\n\r\ntwo")
            assert await node.hear(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        assert seen == ["nowhere"] * 3

    async def test_a_body_that_nobody_reads_is_no_request(self) -> None:
        async def app(stream: Stream) -> None:
            stream.respond(Response(b"ok"))

        async with served(app) as node:
            node.say(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\nsb-request-id: r-1\r\n\r\nbegin")
            await node.hear(b"\r\n\r\nok")
            node.say(b"x" * 199_995 + GET)
            await node.hear(b"\r\n\r\nok")

    async def test_the_rest_of_a_body_can_be_sent_though_the_response_closes_the_connection(self) -> None:
        async def app(stream: Stream) -> None:
            stream.respond(Response(b"ok", headers={"connection": "close"}))

        async with served(app) as node:
            node.say(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\nsb-request-id: r-1\r\n\r\nbegin")
            assert (await node.hear_all()).endswith(b"\r\n\r\nok")
            node.say(b"x" * 199_995)
            await node.writer.drain()
            assert not node.writer.transport.is_closing()

    @pytest.mark.parametrize("behind", [b"", GET])
    async def test_a_large_body_that_has_come_at_once_hides_no_disconnect(self, behind: bytes) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            told.put_nowait(f"{len(await body_of(stream))} bytes")
            told.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\nsb-request-id: r-1\r\n\r\n"
            node.connection.data_received(head + bytes(100_000) + behind)
            assert await asyncio.wait_for(told.get(), PATIENCE_S) == "100000 bytes"
            node.writer.transport.abort()
            assert await asyncio.wait_for(told.get(), PATIENCE_S) == "http.disconnect"

    @pytest.mark.parametrize(
        "data", [b"\r\n\r\n", b"nothing of the kind\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000]
    )
    async def test_what_is_none_is_refused(self, data: bytes) -> None:
        async with served(echo) as node:
            node.say(data)
            assert (await node.hear_all()).startswith(b"HTTP/1.1 400 ")

    async def test_a_body_that_breaks_its_framing_loses_the_connection(self) -> None:
        ends: asyncio.Queue[str] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            ends.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            node.say(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            node.say(b"no chunk\r\n")
            assert await node.hear_all() == b""
            assert await asyncio.wait_for(ends.get(), PATIENCE_S) == "http.disconnect"

    async def test_websockets_are_handed_over_with_all_that_has_come(self) -> None:
        head = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsb-request-id: r\r\n\r\n"
        async with served(echo) as node:
            node.say(head + b"early")
            assert await node.hear_all() == b"upgraded r " + head + b"early"


class TestResponses:
    @pytest.fixture(autouse=True, params=[served, served_by_lane])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(globals(), "served", request.param)

    async def test_in_chunks(self) -> None:
        async def app(stream: Stream) -> None:
            await stream.send({"type": "http.response.start", "status": 200})
            await stream.send({"type": "http.response.body", "body": b"one", "more_body": True})
            await stream.send({"type": "http.response.body", "body": b"", "more_body": True})
            await stream.send({"type": "http.response.body", "body": b"two"})

        async with served(app) as node:
            node.say(GET)
            answer = await node.hear(b"0\r\n\r\n")
            assert answer.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")

    async def test_the_head_does_not_wait_for_a_body_that_takes_its_time(self) -> None:
        go_on = asyncio.Event()

        async def app(stream: Stream) -> None:
            await stream.send(OK)
            await go_on.wait()
            await stream.send({"type": "http.response.body", "body": b"ok"})

        async with served(app) as node:
            node.say(GET)
            assert (await node.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            go_on.set()
            assert await node.hear(b"ok") == b"ok"

    async def test_without_a_body(self) -> None:
        async def app(stream: Stream) -> None:
            await stream.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await stream.send({"type": "http.response.body", "body": b"never"})

        async with served(app) as node:
            node.say(GET.replace(b"GET", b"HEAD").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            assert (await node.hear_all()).endswith(b"content-length: 5\r\nconnection: close\r\n\r\n")

    @pytest.mark.parametrize("body", [b"o", b"oks"])
    async def test_a_body_of_another_length_than_announced_is_none(self, body: bytes) -> None:
        errors = []

        async def app(stream: Stream) -> None:
            await stream.send(OK)
            try:
                await stream.send({"type": "http.response.body", "body": body})
            except heads.BadResponse as error:
                errors.append(error)
                stream.fail()

        async with served(app) as node:
            node.say(GET)
            # Nothing of it was sent yet.
            assert (await node.hear(b"Internal Server Error")).startswith(b"HTTP/1.1 500 ")
        assert len(errors) == 1

    async def test_a_failure_in_the_middle_cuts_the_connection(self) -> None:
        async def app(stream: Stream) -> None:
            await stream.send({"type": "http.response.start", "status": 200})
            await stream.send({"type": "http.response.body", "body": b"some", "more_body": True})
            stream.fail()

        async with served(app) as node:
            node.say(GET)
            assert (await node.hear_all()).endswith(b"4\r\nsome\r\n")

    async def test_messages_have_an_order(self) -> None:
        errors = []

        async def app(stream: Stream) -> None:
            async def refused(message: dict[str, Any]) -> None:
                with pytest.raises(RuntimeError) as caught:
                    await stream.send(message)
                errors.append(str(caught.value))

            await refused({"type": "http.response.body", "body": b"ok"})
            await stream.send(OK)
            await refused(OK)
            await stream.send({"type": "http.response.body", "body": b"ok"})
            await refused({"type": "http.response.body", "body": b"ok"})
            errors.append((await stream.receive())["type"])

        async with served(app) as node:
            node.say(GET + GET)
            for _ in range(2):
                assert (await node.hear(b"ok")).endswith(b"\r\n\r\nok")
        assert errors[:4] == [
            "http.response.body was sent for http.response.start",
            "http.response.start was sent for http.response.body",
            "http.response.body was sent after the end of the response",
            "http.disconnect",
        ]

    @pytest.mark.parametrize(
        ("method", "status", "body"),
        [(b"HEAD", 200, b"never"), (b"GET", 200, b"ok"), (b"GET", 204, b""), (b"GET", 304, b"")],
    )
    async def test_its_last_byte_frees_the_connection(self, method: bytes, status: int, body: bytes) -> None:
        go_on = asyncio.Event()
        ended: asyncio.Queue[str] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            if stream.request_id == "r-1":
                stream.respond(Response(b"next"))
                return
            await stream.send({**OK, "status": status})
            await stream.send({"type": "http.response.body", "body": body, "more_body": True})
            await go_on.wait()
            await stream.send({"type": "http.response.body", "body": b"", "more_body": True})
            await stream.send({"type": "http.response.body"})
            with pytest.raises(RuntimeError, match="after the end of the response"):
                await stream.send({"type": "http.response.body"})
            ended.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            node.say(method + b" / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await node.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 %d " % status)
            node.say(GET)
            assert (await node.hear(b"next")).startswith((b"ok" if body == b"ok" else b"") + b"HTTP/1.1 200 OK\r\n")
            go_on.set()
            assert await asyncio.wait_for(ended.get(), PATIENCE_S) == "http.disconnect"
            node.say(GET)
            await node.hear(b"next")

    async def test_a_head_alone_frees_the_connection_and_the_application_is_told(self) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            await stream.send(OK)
            for _ in range(2):
                told.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            for _ in range(2):
                node.say(GET.replace(b"GET", b"HEAD"))
                await node.hear(b"\r\n\r\n")
                assert await asyncio.wait_for(told.get(), PATIENCE_S) == "http.request"
                assert await asyncio.wait_for(told.get(), PATIENCE_S) == "http.disconnect"

    async def test_what_follows_the_last_byte_is_not_interrupted(self) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        go_on = asyncio.Event()
        watches = []

        async def app(stream: Stream) -> None:
            await body_of(stream)
            await stream.send(OK)
            await stream.send({"type": "http.response.body", "body": b"ok", "more_body": True})
            watches.append(asyncio.create_task(watch(stream)))
            with pytest.raises(heads.BadResponse, match="longer than its Content-Length"):
                await stream.send({"type": "http.response.body", "body": b"!", "more_body": True})
            await go_on.wait()
            told.put_nowait("done")
            # It has not said that this was all.
            stream.fail()

        async def watch(stream: Stream) -> None:
            told.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            node.say(GET)
            await node.hear(b"\r\n\r\nok")
            node.say(GET)
            await node.hear(b"\r\n\r\nok")
            assert told.empty()
            go_on.set()
            assert {await asyncio.wait_for(told.get(), PATIENCE_S) for _ in range(4)} == {"done", "http.disconnect"}

    async def test_after_its_last_byte_no_more_of_the_request_comes(self) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()

        async def app(stream: Stream) -> None:
            await stream.send(OK)
            await stream.send({"type": "http.response.body", "body": b"ok", "more_body": True})
            told.put_nowait((await stream.receive())["type"])

        async with served(app) as node:
            node.say(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nsb-request-id: r-1\r\n\r\nbegin"[:-1])
            await node.hear(b"\r\n\r\nok")
            assert await asyncio.wait_for(told.get(), PATIENCE_S) == "http.disconnect"

    async def test_who_waits_to_write_hears_of_the_end(self) -> None:
        ended = asyncio.Event()

        async def app(stream: Stream) -> None:
            await stream.send({"type": "http.response.start", "status": 200})
            while not stream.gone:
                await stream.send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            assert await stream.receive() == {"type": "http.disconnect"}
            ended.set()

        async with served(app) as node:
            node.say(GET)
            await node.hear(b"\r\n\r\n")
            node.writer.transport.abort()
            await asyncio.wait_for(ended.wait(), PATIENCE_S)

    async def test_who_answers_nobody_goes_on_all_the_same(self) -> None:
        ended = asyncio.Event()

        async def app(stream: Stream) -> None:
            while await stream.receive() != {"type": "http.disconnect"}:
                pass
            await stream.send(OK)
            await stream.send({"type": "http.response.body", "body": b"o", "more_body": True})
            await stream.send({"type": "http.response.body", "body": b"k"})
            with pytest.raises(RuntimeError, match="after the end of the response"):
                await stream.send({"type": "http.response.body"})
            ended.set()

        async with served(app) as node:
            node.say(GET)
            node.writer.transport.abort()
            await asyncio.wait_for(ended.wait(), PATIENCE_S)


async def test_the_rehearsal_ends_with_an_answer() -> None:
    assert (await rehearsal.rehearse()).startswith(b"HTTP/1.1 200 OK\r\n")
