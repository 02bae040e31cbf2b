"""Real links to a worker that does not keep to HTTP, seen from the client at the other end of a real gateway."""

import asyncio
import contextlib
import functools
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway import rig
from tests.gateway.rig import Client

from outlast.core import outcome
from outlast.core.errors import OutlastError
from outlast.engines.python import lane as lane_of_worker
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.lane import Lane
from outlast.supervisor.link import Link
from outlast.wire import bodies, http1
from outlast.wire.invocation import Invocation, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
BRIEF_S = 0.1


class Visit:
    """One connection to the worker, as the worker sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> bytes:
        """Reads a request, and returns its target."""
        head = http1.parse_request(await self.reader.readuntil(b"\r\n\r\n"))
        decoder = bodies.decoder(head.length)
        decoder.feed(b"")
        while not decoder.done:
            _, beyond = decoder.feed(await self.reader.read(1 << 16))
            assert beyond == b""
        return head.path + head.query

    def say(self, data: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(data)

    async def closed(self) -> None:
        """Until the gateway has closed."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(rig.PATIENCE_S):
                while await self.reader.read(1 << 16):
                    pass


Behaviour = Callable[[Visit], Awaitable[None]]


class Worker:
    """A service with one worker; as its supervisor would, it keeps the links that can be used again."""

    verify_jwt = False
    execution_id = "the-worker"
    signs_of_life = 0
    is_condemned = False

    def __init__(self, path: str, idle_limit_s: float) -> None:
        self._path = path
        self._idle_limit_s = idle_limit_s
        self.free: list[Link] = []
        self.lane: Lane | None = None
        self.requests = 0
        self.misused: list[str] = []
        self.abandoned = 0
        self.unused = asyncio.Event()
        self.freed = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    def submit(self, invocation: Invocation, reply: Reply, body: bytes, complete: bool) -> Exchange:
        exchange = Exchange(self, invocation, reply, body, complete, 0)
        exchange.worker = self
        self.requests += 1
        while self.free:
            link = self.free.pop()
            if link.is_open and link.carry(exchange):
                return exchange
        link = Link(self, self._idle_limit_s)
        if self.lane is not None:
            self.lane.open(link)
            assert link.carry(exchange)
            return exchange
        connecting = asyncio.create_task(link.connect(self._path, exchange))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        return exchange

    def link_done(self, link: Link, exchange: Exchange, reusable: bool) -> None:
        self.requests -= 1
        if reusable:
            self.free.append(link)
        self.freed.set()

    def link_unused(self, exchange: Exchange, why: str) -> None:
        self.unused.set()
        self.link_lost(exchange)

    def link_lost(self, exchange: Exchange) -> None:
        exchange.link = None
        self.requests -= 1
        exchange.fail(outcome.RequestEnd.WORKER_ERROR)

    def cut_off(self, exchange: Exchange) -> None:
        exchange.fail(outcome.RequestEnd.WORKER_ERROR)

    def link_abandoned(self, exchange: Exchange) -> None:
        self.abandoned += 1

    def link_misused(self, exchange: Exchange, error: OutlastError) -> None:
        self.misused.append(str(error))

    def forget(self, exchange: Exchange) -> None:
        """Called for what waits for a worker; here nothing does."""
        raise AssertionError

    async def idle(self) -> None:
        """Until no request is under way."""
        async with asyncio.timeout(rig.PATIENCE_S):
            while self.requests:
                self.freed.clear()
                await self.freed.wait()


Stage = contextlib.AbstractAsyncContextManager[tuple[Worker, Client, list[Visit]]]
Behaving = Callable[..., Stage]


@pytest.fixture(params=["by sockets", "by a lane"])
def behaving(request: pytest.FixtureRequest) -> Behaving:
    """`by_sockets`, or the same with all connections on a lane."""
    return functools.partial(by_sockets, lane=request.param == "by a lane")


@contextlib.asynccontextmanager
async def by_sockets(
    folder: Path, behaviour: Behaviour, idle_limit_s: float = 60, *, lane: bool = False
) -> AsyncIterator[tuple[Worker, Client, list[Visit]]]:
    """A gateway whose one worker behaves so in its first connection, and well in all later ones."""
    visits: list[Visit] = []
    numbers = itertools.count()
    faults: list[BaseException] = []
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer, next(numbers))
        visits.append(visit)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if visit.number == 0:
                    await behaviour(visit)
                    return
                while True:
                    target = await visit.request()
                    visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))
        except AssertionError as error:
            faults.append(error)
        finally:
            writer.close()

    def connection() -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), accept)

    path = str(folder / "http.sock")
    server = await asyncio.get_running_loop().create_unix_server(
        (lambda: lane_of_worker.Lane({}, connection)) if lane else connection, path
    )
    worker = Worker(path, idle_limit_s)
    if lane:
        worker.lane = Lane(worker.misused.append)
        await worker.lane.connect(path)
    try:
        async with rig.gateway({"play": worker}) as shared, shared.client() as client:  # type: ignore[dict-item]
            yield worker, client, visits
            await worker.idle()
        for link in worker.free:
            link.close()
        async with asyncio.timeout(rig.PATIENCE_S):
            await asyncio.gather(*serving)
    finally:
        if worker.lane is not None:
            worker.lane.close()
        server.close()
    assert faults == []


def ask(client: Client, target: bytes = b"/play", method: bytes = b"GET") -> None:
    client.send(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target))


async def expect_well(client: Client) -> None:
    """The connection goes on, and what it brings is the answer to what was asked."""
    ask(client, b"/play/next")
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"/play/next")


def saying(*pieces: bytes, then_close: bool = False) -> Behaviour:
    async def behave(visit: Visit) -> None:
        await visit.request()
        for piece in pieces:
            visit.say(piece)
            for _ in range(4):
                await asyncio.sleep(0)
        if not then_close:
            await visit.closed()

    return behave


MALFORMED = {
    "garbage": b"hello\r\n\r\n",
    "a control character": b"\x16\x03\x01",
    "HTTP/0.9": b"<html>\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "an empty line first": b"\r\n" + FINE,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nfine",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk in the first piece": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an interim answer with a body": b"HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nfine",
    "a head without an end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 6000,
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer_is_502(tmp_path: Path, behaving: Behaving, raw: bytes) -> None:
    async with behaving(tmp_path, saying(raw)) as (worker, client, visits):
        ask(client)
        answer = await client.answer()
        assert (answer.status, answer.fields[b"sb-error-code"]) == (502, b"BAD_RESPONSE")
        assert answer.json["code"] == "BAD_RESPONSE"
        assert len(worker.misused) == 1
        await expect_well(client)
        assert len(visits) == 2


async def test_an_answer_before_the_question_is_no_answer_to_it(tmp_path: Path, behaving: Behaving) -> None:
    async def behave(visit: Visit) -> None:
        visit.say(b"220 mail.example.com ESMTP\r\n\r\n")
        await visit.closed()

    async with behaving(tmp_path, behave) as (_, client, visits):
        ask(client)
        assert (await client.answer()).status in (500, 502)
        await expect_well(client)
        assert len(visits) == 2


CUT = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"some", b""),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nsome\r\n", b"4\r\nmo"),
}


@pytest.mark.parametrize(
    ("framing", "how"),
    [*itertools.product(CUT, ["closes", "falls silent"]), ("chunks", "sends a bad chunk")],
)
async def test_a_body_that_stops_cuts_the_connection(
    tmp_path: Path, behaving: Behaving, framing: str, how: str
) -> None:
    head, body, more = CUT[framing]
    if how == "sends a bad chunk":
        more = b"X\r\n"
    behaviour = saying(head + body, more, then_close=how == "closes")
    idle_limit_s = BRIEF_S if how == "falls silent" else 60
    async with behaving(tmp_path, behaviour, idle_limit_s) as (worker, client, _):
        ask(client)
        ask(client, b"/play/never")
        # What there was arrives; what ends the connection is not an end of the body.
        assert (await client.head()).status == 200
        got = await client.rest()
        assert got.startswith(body)
        with pytest.raises(bodies.BadBody):
            decoder = bodies.decoder(http1.CHUNKED if b"chunked" in head else 100)
            assert decoder.feed(got)[0] in (b"some", b"somemo")
            decoder.eof()
        assert not worker.free


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_worker_that_closes_without_an_answer_is_500(tmp_path: Path, behaving: Behaving, raw: bytes) -> None:
    async with behaving(tmp_path, saying(raw, then_close=True)) as (_, client, _):
        ask(client)
        answer = await client.answer()
        assert (answer.status, answer.fields[b"sb-error-code"]) == (500, b"WORKER_ERROR")
        await expect_well(client)


async def test_a_worker_that_is_not_there(tmp_path: Path) -> None:
    async with by_sockets(tmp_path, saying(FINE)) as (worker, client, visits):
        (tmp_path / "http.sock").unlink()
        ask(client)
        assert (await client.answer()).status == 500
        assert worker.unused.is_set()
        assert visits == []


async def test_a_worker_with_no_room_for_a_connection_is_busy_not_dead(tmp_path: Path) -> None:
    path = tmp_path / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(str(path))
        listener.listen(0)
        while True:
            filler = waiting.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            try:
                filler.connect(str(path))
            except BlockingIOError:
                break
        worker = Worker(str(path), 60)
        async with rig.gateway({"play": worker}) as shared, shared.client() as client:  # type: ignore[dict-item]
            ask(client)
            answer = await client.answer()
            assert (answer.status, answer.fields[b"sb-error-code"]) == (503, b"WORKER_BUSY")
            assert answer.fields[b"retry-after"] == b"1"
            assert not worker.unused.is_set()


class Silence:
    """Takes the place of the timers of links: as much time passes as the test says."""

    def __init__(self) -> None:
        self._on_idle: Callable[[], object]
        self._is_expected = self._was_broken = False
        self.paused = asyncio.Event()

    def timer(self, _: object, on_idle: Callable[[], object]) -> "Silence":
        self._on_idle = on_idle
        return self

    def expect(self, limit_s: float) -> None:
        self._is_expected = self._was_broken = limit_s > 0
        if not limit_s:
            self.paused.set()

    def touch(self) -> None:
        self._was_broken = True

    def cancel(self) -> None:
        self._is_expected = False

    def lasts(self) -> None:
        """Nearly as long as it may, twice: somebody has to say something in between."""
        if self._is_expected and not self._was_broken:
            self._on_idle()
        self._was_broken = False


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Silence:
    silence = Silence()
    monkeypatch.setattr("outlast.supervisor.link.IdleTimer", silence.timer)
    return silence


async def test_whoever_says_something_in_time_may_take_any_time(tmp_path: Path, silence: Silence) -> None:
    async def behave(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        silence.lasts()
        for piece in (b"a", b"b"):
            client.send(piece)
            assert await visit.reader.readexactly(1) == piece
            silence.lasts()
        visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.head()
        for piece in (b"1\r\nA\r\n", b"1\r\nB\r\n", b"0\r\n\r\n"):
            silence.lasts()
            visit.say(piece)
            await client.exactly(piece)

    async with by_sockets(tmp_path, behave) as (worker, client, _):
        client.send(b"POST /play HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        await worker.idle()


async def test_both_ends_of_a_tunnel_may_break_the_silence(tmp_path: Path, silence: Silence) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        silence.lasts()
        visit.say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await client.head()
        for _ in range(2):
            silence.lasts()
            client.send(b"from the client")
            await visit.reader.readexactly(15)
            silence.lasts()
            visit.say(b"from the worker")
            await client.exactly(b"from the worker")

    async with by_sockets(tmp_path, behave) as (worker, client, _):
        client.send(b"GET /play HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await worker.idle()


async def test_a_client_that_reads_slowly_is_no_silence_of_the_worker(tmp_path: Path, silence: Silence) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
        await visit.closed()

    large = bytes(32 << 20)
    async with by_sockets(tmp_path, behave) as (_, client, _):
        client.writer.transport.pause_reading()
        ask(client)
        async with asyncio.timeout(rig.PATIENCE_S):
            await silence.paused.wait()
        silence.lasts()
        silence.lasts()
        client.writer.transport.resume_reading()
        assert len((await client.answer()).body) == len(large)


async def test_a_worker_that_never_answers_is_504(tmp_path: Path, behaving: Behaving) -> None:
    async with behaving(tmp_path, saying(), BRIEF_S) as (_, client, visits):
        ask(client)
        answer = await client.answer()
        assert (answer.status, answer.fields[b"sb-error-code"]) == (504, b"IDLE_TIMEOUT")
        await expect_well(client)
        assert len(visits) == 2


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"b"),
    ],
    ids=["fields", "interim answers", "a value"],
)
async def test_a_head_that_never_ends_is_504(tmp_path: Path, behaving: Behaving, first: bytes, again: bytes) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.say(first)
        gone = asyncio.create_task(visit.closed())
        while not gone.done():
            visit.say(again)
            await asyncio.wait([gone], timeout=BRIEF_S / 10)

    async with behaving(tmp_path, behave, BRIEF_S) as (_, client, visits):
        ask(client)
        assert (await client.answer()).status == 504
        await expect_well(client)
        assert len(visits) == 2


async def test_any_number_of_interim_answers_may_come_first(tmp_path: Path, behaving: Behaving) -> None:
    async def behave(visit: Visit) -> None:
        for _ in range(2):
            await visit.request()
            visit.say(b"HTTP/1.1 102 Processing\r\n\r\n" * 9_000 + FINE)
        await visit.closed()

    async with behaving(tmp_path, behave) as (_, client, visits):
        for _ in range(2):
            ask(client)
            answer = await client.answer()
            assert (answer.status, answer.body, answer.interim) == (200, b"fine", [])
        assert len(visits) == 1


TOO_MUCH = {
    "two answers": (b"GET", FINE + FINE, 200),
    "more than the length": (b"GET", FINE + b"!", 200),
    "more than the last chunk": (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n!", 200),
    "a body for HEAD": (b"HEAD", FINE, 200),
    "a body with 204": (b"GET", b"HTTP/1.1 204 No Content\r\n\r\nfine", 204),
    "a body with 304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nfine", 304),
}


@pytest.mark.parametrize(("method", "raw", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_what_lies_behind_an_answer_is_not_the_next_one(
    tmp_path: Path, behaving: Behaving, method: bytes, raw: bytes, status: int
) -> None:
    async with behaving(tmp_path, saying(raw)) as (worker, client, visits):
        ask(client, method=method)
        ask(client, b"/play/behind")
        assert (await client.answer(method)).status == status
        assert (await client.answer()).body == b"/play/behind"
        assert len(worker.free) == 1
        await expect_well(client)
        assert len(visits) == 2
        assert worker.misused == []


async def test_what_comes_on_a_free_link_closes_it(tmp_path: Path, behaving: Behaving) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.say(FINE)
        await answered.wait()
        visit.say(FINE)
        await visit.closed()
        closed.set()

    answered, closed = asyncio.Event(), asyncio.Event()
    async with behaving(tmp_path, behave) as (_, client, visits):
        ask(client)
        assert (await client.answer()).body == b"fine"
        answered.set()
        async with asyncio.timeout(rig.PATIENCE_S):
            await closed.wait()
        await expect_well(client)
        assert len(visits) == 2


async def test_a_free_link_that_the_worker_closed_is_not_used(tmp_path: Path, behaving: Behaving) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.say(FINE)
        visit.writer.close()
        await visit.writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    async with behaving(tmp_path, behave) as (worker, client, visits):
        ask(client)
        assert (await client.answer()).body == b"fine"
        async with asyncio.timeout(rig.PATIENCE_S):
            await closed.wait()
        # By the time that this is answered, the gateway has heard of it.
        ask(client, b"/none")
        assert (await client.answer()).status == 404
        assert not worker.free[0].is_open
        await expect_well(client)
        assert len(visits) == 2


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, b"fine"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n",
            b"abcd",
        ),
    ],
)
async def test_an_answer_byte_by_byte(tmp_path: Path, behaving: Behaving, raw: bytes, body: bytes) -> None:
    async def behave(visit: Visit) -> None:
        await saying(*(raw[i : i + 1] for i in range(len(raw))), then_close=True)(visit)
        # And a shorter one at once.
        await saying(b"HTTP/1.1 204 Fine\r\n\r\n")(visit)

    async with behaving(tmp_path, behave) as (worker, client, _):
        ask(client)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, body)
        assert worker.free
        ask(client)
        assert (await client.answer()).status == 204


async def test_an_answer_that_ends_with_its_connection(tmp_path: Path, behaving: Behaving) -> None:
    async with behaving(tmp_path, saying(b"HTTP/1.0 200 OK\r\n\r\nsome", b" more", then_close=True)) as (
        worker,
        client,
        _,
    ):
        ask(client)
        answer = await client.answer()
        assert (answer.body, answer.head.keep_alive) == (b"some more", True)
        await expect_well(client)
        assert len(worker.free) == 1


async def test_an_answer_that_would_end_with_its_connection_is_cut_when_the_worker_is_killed(
    tmp_path: Path, behaving: Behaving
) -> None:
    async with behaving(tmp_path, saying(b"HTTP/1.0 200 OK\r\n\r\nsome", then_close=True)) as (worker, client, _):
        worker.is_condemned = True
        ask(client)
        assert (await client.head()).status == 200
        assert await client.rest() == b"4\r\nsome\r\n"


@pytest.mark.parametrize("end", ["stays open", "closes at once"])
async def test_an_answer_before_the_request_was_read(tmp_path: Path, end: str) -> None:
    async def behave(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.say(b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop")
        if end == "stays open":
            await visit.closed()

    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        async with by_sockets(folder, behave) as (worker, client, _):
            client.send(b"POST /play HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000))
            answer = await client.answer()
            assert (answer.status, answer.body, answer.head.keep_alive) == (413, b"stop", False)
            assert not worker.free


async def test_a_worker_that_answers_before_the_end_of_a_request_gets_no_other_one_behind_it(tmp_path: Path) -> None:
    async def behave(visit: Visit) -> None:
        await visit.reader.readuntil(b"some")
        visit.say(FINE)
        await visit.closed()

    async with by_sockets(tmp_path, behave) as (worker, client, _):
        client.send(b"POST /play HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nsome")
        answer = await client.answer()
        assert (answer.body, answer.head.keep_alive) == (b"fine", False)
        await worker.idle()
        assert not worker.free


async def test_101_for_a_request_with_a_body_is_502(tmp_path: Path) -> None:
    async def behave(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        await visit.closed()

    async with by_sockets(tmp_path, behave) as (worker, client, _):
        client.send(
            b"POST /play HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 9\r\n\r\n"
        )
        assert (await client.answer()).status == 502
        assert worker.misused == ["101 answers a request that asked for no other protocol"]


async def test_a_tunnel_from_end_to_end(tmp_path: Path) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nwelcome")
        while data := await visit.reader.read(1 << 16):
            visit.say(data)
        visit.say(b"bye")

    async with by_sockets(tmp_path, behave) as (worker, client, _):
        client.send(b"GET /play HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly")
        assert (await client.answer()).status == 101
        await client.exactly(b"welcomeearly")
        client.send(b"late")
        await client.exactly(b"late")
        client.writer.write_eof()
        assert await client.rest() == b"bye"
        await worker.idle()
        assert not worker.free


async def test_a_silent_tunnel_is_cut(tmp_path: Path) -> None:
    behaviour = saying(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    async with by_sockets(tmp_path, behaviour, BRIEF_S) as (_, client, _):
        client.send(b"GET /play HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert (await client.answer()).status == 101
        assert await client.rest() == b""


async def test_a_client_that_leaves_closes_the_link(tmp_path: Path, behaving: Behaving) -> None:
    aborted = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        asked.set()
        await visit.closed()
        aborted.set()

    asked = asyncio.Event()
    async with behaving(tmp_path, behave) as (worker, client, _):
        ask(client)
        async with asyncio.timeout(rig.PATIENCE_S):
            await asked.wait()
            client.abort()
            await aborted.wait()
        await worker.idle()
        assert not worker.free
        assert worker.abandoned == 1


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [FINE, b"HTTP/1.1 ", b"200 OK\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]
        )
        | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
        | st.binary(max_size=20),
        max_size=8,
    )
)
async def test_no_worker_can_spoil_the_answer_to_another_request(
    tmp_path: Path, behaving: Behaving, pieces: list[bytes]
) -> None:
    folder = tmp_path / str(next(_folders))
    folder.mkdir()
    async with behaving(folder, saying(*pieces, then_close=True)) as (_, client, _):
        ask(client)
        ask(client, b"/play/behind")
        try:
            first = await client.answer()
        except (AssertionError, bodies.BadBody):
            # It began well, and was cut: nothing may come behind it.
            assert b"/play/behind" not in client.beyond
            return
        assert first.status in (200, 500, 502)
        second = await client.answer()
        assert (second.status, second.body) == (200, b"/play/behind")


_folders = itertools.count()
