"""What a client connection goes through: timeouts, framings, tunnels, denials, and clients that leave or dawdle."""

import asyncio
import base64
import contextlib
import dataclasses
import os
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
import pytest_asyncio
from tests.gateway import rig
from tests.gateway.rig import Answer, Client, Echo, Function, Rig, response

from outlast.core import outcome
from outlast.gateway.auth import Denial, JwtVerifier, Pending
from outlast.gateway.call import MAX_METHOD_CHARS, MAX_PATH_CHARS
from outlast.gateway.ports import Timeouts
from outlast.wire import bodies, http1

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = b"GET /play HTTP/1.1\r\nHost: example.com\r\n\r\n"
SHORT = 0.05
NESTED = base64.urlsafe_b64encode(b'{"alg":"HS256","x":' + b"[" * 20_000).rstrip(b"=")
"""The first part of a token, nested deeper than any decoder follows."""


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/play", version: bytes = b"HTTP/1.1") -> bytes:
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b %b\r\nHost: example.com\r\n%b\r\n%b" % (path, version, fields, body)


UPGRADE = (
    b"GET /play HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\n\r\n"
)
SWITCH = response(101, fields=[(b"sec-websocket-accept", b"y")], length=0, upgrade=b"websocket")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Rig]:
    async with rig.gateway({"echo": Echo()}) as shared:
        yield shared


@pytest_asyncio.fixture(loop_scope="module")
async def play() -> AsyncIterator[Function]:
    yield Function()


@contextlib.asynccontextmanager
async def playing(function: Function, **options: object) -> AsyncIterator[tuple[Rig, Client]]:
    async with rig.gateway({"play": function, "echo": Echo()}, **options) as shared, shared.client() as client:
        yield shared, client


def brief(**timeouts: float) -> Timeouts:
    """No timeout comes into play but those given."""
    return Timeouts(**{"head_s": 60, "body_s": 60, "send_s": 60, "keep_alive_s": 60, "linger_s": 60, **timeouts})


# Timeouts.


@pytest.mark.parametrize("raw", [b"G", b"\r\n", b"GET /play HTTP/1.1\r\nHost: a\r\n\r"])
async def test_a_head_that_does_not_end_is_answered_408(play: Function, raw: bytes) -> None:
    async with playing(play, timeouts=brief(head_s=SHORT)) as (_, client):
        client.send(raw)
        answer = await client.answer()
        assert answer.status == 408
        assert answer.fields[b"sb-error-code"] == b"REQUEST_TIMEOUT"
        assert await client.rest() == b""


async def test_a_client_for_whom_no_file_may_be_opened_is_told(play: Function) -> None:
    async with playing(play, max_files=0) as (shared, client):
        answer = await client.answer()
        assert (answer.status, answer.fields[b"sb-error-code"]) == (503, b"SERVICE_UNAVAILABLE")
        assert answer.body.startswith(b"too many connections")
        assert await client.rest() == b""
        refused = await shared.until_served(1)
        assert (refused.status, refused.client, refused.why.encode() + b"\n") == (503, "127.0.0.1", answer.body)


async def test_a_head_that_trickles_has_no_more_time(play: Function) -> None:
    async with playing(play, timeouts=brief(head_s=0.2)) as (_, client):

        async def trickle() -> None:
            client.send(b"GET /play HTTP/1.1\r\n")
            while True:
                client.send(b"A: b\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert (await client.answer()).status == 408
        trickling.cancel()


@pytest.mark.parametrize(
    ("raw", "status", "why"),
    [
        (b"GET /play HTTP/1.1\r\n\r\n", 400, "the Host field is missing"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "the head is a TLS handshake"),
        (b"\x1b[2J\n", 400, "the head holds a control character, or a bare CR or LF"),
        (b"GET /" + b"a" * http1.MAX_HEAD_BYTES, 414, "the first line is longer than 32768 bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * http1.MAX_HEAD_BYTES, 431, "the head is longer than 32768 bytes"),
        (b"GET /play HTTP/1.1\r\n", 408, "the request did not arrive in time"),
    ],
)
async def test_a_request_that_cannot_be_read_is_told_of(play: Function, raw: bytes, status: int, why: str) -> None:
    async with playing(play, timeouts=brief(head_s=SHORT)) as (shared, client):
        client.send(raw)
        answer = await client.answer()
        told = await shared.until_served(1)
        assert (told.status, told.client, told.method, told.path) == (status, "127.0.0.1", "", "")
        assert told.request_id == answer.fields[b"sb-request-id"].decode()
        assert told.why.startswith(why)
        if status == 408:
            # libuv's timers count whole milliseconds, so one may come by so much too early.
            assert SHORT * 1000 - 1 < told.ms < rig.PATIENCE_S * 1000
        await client.rest()
        assert len(shared.served) == 1


async def test_a_second_head_that_does_not_end_is_answered_408(play: Function) -> None:
    async with playing(play, timeouts=brief(head_s=SHORT)) as (_, client):
        client.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\nGET")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


async def test_a_client_that_says_nothing_is_left_without_a_word(play: Function) -> None:
    async with playing(play, timeouts=brief(head_s=SHORT)) as (_, client):
        assert await client.rest() == b""


async def test_an_idle_connection_is_closed_without_a_word(play: Function) -> None:
    async with playing(play, timeouts=brief(keep_alive_s=SHORT)) as (_, client):
        client.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@pytest.mark.parametrize("line", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_body_that_stalls_is_answered_408(play: Function, line: bytes) -> None:
    async with playing(play, timeouts=brief(body_s=SHORT)) as (_, client):
        client.send(post(line))
        exchange = await play.next()
        exchange.reply.proceed()
        assert (await client.answer()).status == 408
        assert exchange.cancelled.is_set()
        assert await client.rest() == b""


async def test_a_body_that_nobody_wants_yet_does_not_stall(play: Function) -> None:
    async with playing(play, timeouts=brief(body_s=SHORT)) as (_, client):
        client.send(post(b"Content-Length: 10"))
        exchange = await play.next()
        await asyncio.sleep(2 * SHORT)  # that nothing happens cannot be waited for in another way
        exchange.reply.proceed()
        client.send(b"0123456789")
        await exchange.until(b"0123456789")
        await asyncio.sleep(2 * SHORT)
        exchange.answer(b"well")
        assert (await client.answer()).body == b"well"


async def test_a_function_has_all_the_time_that_a_client_has_not(play: Function) -> None:
    async with playing(play, timeouts=brief(head_s=SHORT, keep_alive_s=2 * SHORT)) as (_, client):
        for _ in range(2):
            client.send(GET)
            exchange = await play.next()
            await asyncio.sleep(4 * SHORT)
            exchange.answer(b"at last")
            assert (await client.answer()).body == b"at last"


async def test_a_body_may_take_longer_than_the_longest_silence_in_it(play: Function) -> None:
    async with playing(play, timeouts=brief(body_s=20 * SHORT)) as (_, client):
        client.send(post(b"Content-Length: 3"))
        exchange = await play.next()
        exchange.reply.proceed()
        for end in range(1, 4):
            await asyncio.sleep(8 * SHORT)
            client.send(b"abc"[end - 1 : end])
            await exchange.until(b"abc"[:end])
        exchange.answer(b"well")
        assert (await client.answer()).body == b"well"


async def test_a_body_that_stalls_behind_a_begun_answer_cuts_it(play: Function) -> None:
    async with playing(play, timeouts=brief(body_s=SHORT)) as (shared, client):
        client.send(post(b"Content-Length: 10"))
        exchange = await play.next()
        exchange.reply.proceed()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"some", last=False)
        head = await client.head()
        assert (head.status, head.length) == (200, http1.CHUNKED)
        await client.exactly(b"4\r\nsome\r\n")
        assert await client.rest() == b""
        assert exchange.cancelled.is_set()
        served = await shared.until_served(1)
        assert (served.status, served.why) == (200, "the request did not arrive in time")


async def test_a_client_that_takes_nothing_is_cut_off(play: Function) -> None:
    async with playing(play, timeouts=brief(send_s=SHORT)) as (shared, client):
        client.writer.transport.pause_reading()
        client.send(GET)
        exchange = await play.next()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"", last=False)
        while not exchange.paused.is_set():
            exchange.reply.data(bytes(1 << 20), last=False)
        async with asyncio.timeout(rig.PATIENCE_S):
            await exchange.cancelled.wait()
        served = await shared.until_served(1)
        assert (served.status, served.why) == (200, "the client did not take its answer in time")


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_a_client_that_does_not_take_the_end_of_its_answer_is_cut_off(play: Function, close: bytes) -> None:
    timeouts = brief(send_s=SHORT, keep_alive_s=SHORT)
    async with playing(play, timeouts=timeouts) as (shared, client):
        client.writer.transport.pause_reading()
        client.send(GET.replace(b"\r\n\r\n", b"\r\n" + close + b"\r\n"))
        (await play.next()).answer(bytes(32 << 20))
        await shared.until_served(1)
        async with asyncio.timeout(rig.PATIENCE_S):
            await shared.gateway.wait_closed()


async def test_a_slow_client_holds_the_function_back_and_gets_everything(play: Function) -> None:
    async with playing(play) as (_, client):
        client.writer.transport.pause_reading()
        client.send(GET)
        exchange = await play.next()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"", last=False)
        sent = 0
        while not exchange.paused.is_set():
            exchange.reply.data(bytes(1 << 20), last=False)
            sent += 1 << 20
        assert not exchange.resumed.is_set()
        client.writer.transport.resume_reading()
        reading = asyncio.create_task(client.answer())
        async with asyncio.timeout(rig.PATIENCE_S):
            await exchange.resumed.wait()
        exchange.reply.data(b"end", last=True)
        answer = await reading
        assert len(answer.body) == sent + 3
        assert answer.body.endswith(b"\0end")


async def test_a_refused_client_that_goes_on_sending_reads_its_answer(play: Function) -> None:
    async with playing(play, timeouts=brief(linger_s=SHORT)) as (_, client):
        client.send(b"GET / HTTP/9.9\r\n\r\n" + bytes(1 << 20))
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        with pytest.raises(ConnectionError):
            # What it says is thrown away for a while, then nobody listens any more.
            while True:
                client.send(bytes(1 << 16))
                await client.writer.drain()


async def test_a_refused_client_gets_an_answer_as_long_as_it_takes_it(play: Function) -> None:
    """The function answers at length without having read the request: the time to linger begins after the answer."""
    async with playing(play, timeouts=brief(linger_s=SHORT)) as (shared, client):
        client.writer.transport.pause_reading()
        client.send(post(b"Content-Length: 1000000000"))
        exchange = await play.next()
        exchange.reply.proceed()
        exchange.answer(bytes(16 << 20))
        await shared.gateway.close()
        await asyncio.sleep(4 * SHORT)  # longer than it would linger
        client.writer.transport.resume_reading()
        answer = await client.answer()
        assert len(answer.body) == 16 << 20
        assert not answer.head.keep_alive


async def test_a_client_that_sends_all_before_it_reads_gets_an_answer_that_came_at_once(play: Function) -> None:
    async with playing(play, timeouts=brief()) as (_, client):
        client.writer.transport.set_write_buffer_limits(0)
        client.send(post(b"Content-Length: 16000000", path=b"/none", body=bytes(16_000_000)))
        async with asyncio.timeout(rig.PATIENCE_S):
            await client.writer.drain()
        assert (await client.answer()).status == 404


# Framings.


async def ask(client: Client, function: Function, raw: bytes, content: bytes, **head: object) -> Answer:
    client.send(raw)
    (await function.next()).answer(content, **head)
    return await client.answer(raw.split(b" ")[0])


async def test_an_answer_without_a_known_length_is_chunked(play: Function) -> None:
    large = bytes(range(256)) * (bodies.LARGE // 256)
    async with playing(play) as (_, client):
        for length in (http1.CHUNKED, http1.UNTIL_CLOSE):
            client.send(GET)
            exchange = await play.next()
            exchange.reply.begin(response(length=length), rig.EXECUTION_ID, b"one ", last=False)
            exchange.reply.data(b"two", last=False)
            exchange.reply.data(large, last=False)
            exchange.reply.data(large, last=True)
            answer = await client.answer()
            assert answer.body == b"one two" + large + large
            assert (answer.head.length, answer.head.keep_alive) == (http1.CHUNKED, True)


async def test_a_1_0_client_gets_the_body_as_it_is_and_the_end_by_closing(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(b"GET /play HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        exchange = await play.next()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"one ", last=False)
        exchange.reply.data(b"two", last=True)
        answer = await client.answer()
        assert (answer.body, answer.head.length, answer.head.keep_alive) == (b"one two", http1.UNTIL_CLOSE, False)


async def test_a_1_0_client_can_tell_a_cut_answer_from_a_whole_one(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(b"GET /play HTTP/1.0\r\n\r\n")
        exchange = await play.next()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"one ", last=False)
        await client.head()
        await client.exactly(b"one ")
        exchange.reply.fail(outcome.RequestEnd.WORKER_ERROR, rig.EXECUTION_ID)
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_1_0_connections_persist_only_where_asked(play: Function) -> None:
    async with playing(play) as (_, client):
        answer = await ask(client, play, b"GET /play HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"one")
        assert answer.head.length == 3
        client.send(b"GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.answer()).status == 404
        answer = await ask(client, play, b"GET /play HTTP/1.0\r\n\r\n", b"two")
        assert not answer.head.keep_alive
        assert await client.rest() == b""


async def test_connection_close_is_heeded_and_said(play: Function) -> None:
    async with playing(play) as (_, client):
        answer = await ask(client, play, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET, b"one")
        assert not answer.head.keep_alive
        assert await client.rest() == b""
    assert play.count == 1


async def test_answers_without_a_body(play: Function) -> None:
    async with playing(play) as (_, client):
        for method, status, declared, said in [
            (b"HEAD", 200, 1000, 1000),
            (b"HEAD", 200, http1.CHUNKED, None),
            (b"GET", 304, 1000, 1000),
            (b"GET", 204, 0, None),
            (b"GET", 204, None, None),
        ]:
            client.send(GET.replace(b"GET", method))
            exchange = await play.next()
            head = dataclasses.replace(response(status, length=0), declared_length=declared)
            exchange.reply.begin(head, rig.EXECUTION_ID, b"", last=True)
            answer = await client.answer(method)
            assert (answer.status, answer.head.declared_length, answer.head.keep_alive) == (status, said, True)
            assert (answer.body, client.beyond) == (b"", b"")


async def test_the_path_of_another_service_of_a_supabase_project(served: Rig) -> None:
    async with served.client() as client:
        client.send(b"GET /rest/v1/tasks?select=* HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (404, "OTHER_SERVICE")
        assert "SUPABASE_URL" in answer.json["message"]


async def test_the_gateway_s_own_answers_to_head_have_no_body(served: Rig) -> None:
    async with served.client() as client:
        client.send(b"HEAD /none HTTP/1.1\r\nHost: a\r\n\r\nGET /echo/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer(b"HEAD")
        assert (answer.status, answer.head.declared_length) == (404, len(b"Function not found"))
        assert (await client.answer()).json["target"] == "/echo/2"


async def test_an_answer_without_a_date_is_given_one(play: Function) -> None:
    own = b"Sun, 06 Nov 1994 08:49:37 GMT"
    async with playing(play) as (_, client):
        for fields in ([], [(b"date", own)]):
            client.send(GET)
            (await play.next()).answer(fields=fields)
            date = (await client.answer()).fields[b"date"]
            assert (date == own) == bool(fields)
            if not fields:
                age = datetime.now(UTC) - parsedate_to_datetime(date.decode())
                assert abs(age) < timedelta(minutes=1)


async def test_trailers_and_extensions_are_dropped(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(
            post(b"Transfer-Encoding: chunked", b"Trailer: X-Sum", body=b"2;a=b\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")
        )
        exchange = await play.next()
        assert (exchange.body, exchange.complete) == (b"hi", True)
        assert b"x-sum" not in exchange.invocation.head.lower()
        exchange.answer()
        assert (await client.answer()).status == 200


async def test_a_thousand_pipelined_requests(served: Rig) -> None:
    async with served.client() as client:
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n" * 1000 + b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(1000):
            assert (await client.answer()).status == 404
        assert (await client.answer()).status == 200


async def test_pipelined_requests_that_come_alike_once_more_are_all_served(served: Rig) -> None:
    async with served.client() as client:
        for _ in range(3):
            client.send(
                b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n" + post(b"Content-Length: 2", body=b"hi", path=b"/echo")
            )
            assert [(await client.answer()).json["body"] for _ in range(2)] == ["", "hi"]


async def test_the_next_request_is_served_when_a_slow_client_has_taken_its_answer(play: Function) -> None:
    async with playing(play) as (_, client):
        client.writer.transport.pause_reading()
        client.send(GET * 2)
        (await play.next()).answer(bytes(16 << 20))
        client.writer.transport.resume_reading()
        assert len((await client.answer()).body) == 16 << 20
        (await play.next()).answer(b"second")
        assert (await client.answer()).body == b"second"


async def test_a_client_that_pipelines_and_takes_no_answers_fills_nothing_but_its_own_buffers(play: Function) -> None:
    async with playing(play, timeouts=brief(send_s=0.2)) as (shared, client):
        client.writer.transport.pause_reading()
        with contextlib.suppress(ConnectionError):
            while True:
                client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
                await client.writer.drain()
        async with asyncio.timeout(rig.PATIENCE_S):
            await shared.gateway.wait_closed()
        # The kernel's buffers hold a few MB of answers at most.
        assert len(shared.served) * 150 < 32 << 20


async def test_the_same_request_once_more_waits_for_its_turn(served: Rig, play: Function) -> None:
    async with playing(play) as (_, client):
        client.writer.transport.pause_reading()
        client.send(GET)
        exchange = await play.next()
        for answer in (b"", bytes(16 << 20)):
            if answer:
                exchange.answer(answer)
            client.send(GET)
            async with served.client() as other:
                # This takes turns of the same event loop, in which the request would have been served.
                other.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await other.answer()).status == 200
            assert play.count == 1
        client.writer.transport.resume_reading()
        assert len((await client.answer()).body) == 16 << 20
        for _ in range(2):
            (await play.next()).answer(b"again")
            assert (await client.answer()).body == b"again"


async def test_what_looks_like_the_latest_request_but_lies_in_another_one_is_none(served: Rig) -> None:
    again = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
    async with served.client() as client:
        client.send(again)
        await client.answer()
        await client.send_in_pieces([b"GET /none HTTP/1.1\r\nA: ", again])
        assert (await client.answer()).status == 404


async def test_requests_behind_a_slow_one_wait_unread(play: Function) -> None:
    async with playing(play) as (shared, client):
        client.send(GET)
        first = await play.next()
        # More than the kernel would hold: the writer blocks until the first is answered.
        many = 400_000
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n" * many)
        sending = asyncio.create_task(client.writer.drain())
        [connection] = shared.gateway._connections
        async with asyncio.timeout(rig.PATIENCE_S):
            while not connection._reading_paused:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not sending.done()
        first.answer(b"first")
        assert (await client.answer()).body == b"first"
        for _ in range(20_000):
            # More than had been read.
            assert (await client.answer()).status == 404
        sending.cancel()
    assert play.count == 1


# Expect: 100-continue.


async def test_continue_is_said_when_a_worker_was_found(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(post(b"Content-Length: 2", b"Expect: 100-continue"))
        exchange = await play.next()
        exchange.reply.proceed()
        assert (await client.head()).status == 100
        client.send(b"hi")
        await exchange.until(b"hi")
        exchange.answer(b"thanks")
        answer = await client.answer()
        assert (answer.body, answer.interim, answer.head.keep_alive) == (b"thanks", [], True)


async def test_continue_is_not_said_to_who_is_denied_or_refused(play: Function) -> None:
    play.verify_jwt = True
    async with playing(play, verifier=JwtVerifier(secret="s" * 32)) as (_, client):
        client.send(post(b"Content-Length: 2", b"Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer.interim, answer.head.keep_alive) == (401, [], False)
        assert await client.rest() == b""
    async with playing(Function()) as (_, client):
        client.send(post(b"Content-Length: 2", b"Expect: 100-continue", path=b"/none"))
        answer = await client.answer()
        assert (answer.status, answer.interim, answer.head.keep_alive) == (404, [], False)
    assert play.count == 0


async def test_continue_is_not_said_when_the_body_is_there(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(post(b"Content-Length: 2", b"Expect: 100-continue", body=b"hi"))
        exchange = await play.next()
        assert exchange.complete
        exchange.answer()
        assert (await client.answer()).interim == []


async def test_an_answer_before_the_end_of_the_request_closes_the_connection(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(post(b"Content-Length: 1000000"))
        exchange = await play.next()
        exchange.reply.proceed()
        client.send(bytes(1000))
        await exchange.until(bytes(1000))
        exchange.answer(b"enough", status=413)
        client.send(bytes(500_000))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.head.keep_alive) == (413, b"enough", False)
        assert await client.rest() == b""


async def test_the_function_may_answer_while_it_reads(play: Function) -> None:
    async with playing(play) as (_, client):
        client.send(post(b"Transfer-Encoding: chunked"))
        exchange = await play.next()
        exchange.reply.proceed()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"go on", last=False)
        assert (await client.head()).length == http1.CHUNKED
        await client.exactly(b"5\r\ngo on\r\n")
        client.send(b"3\r\nabc\r\n0\r\n\r\n")
        await exchange.until(b"abc")
        exchange.reply.data(b"abc", last=True)
        await client.exactly(b"3\r\nabc\r\n0\r\n\r\n")
        assert await client.rest() == b""


async def test_a_worker_slower_than_the_client_holds_it_back(play: Function) -> None:
    async with playing(play) as (shared, client):
        size = 8 << 20
        client.send(post(b"Content-Length: %d" % size))
        exchange = await play.next()
        exchange.reply.proceed()
        exchange.reply.pause()
        client.send(bytes(size))
        sending = asyncio.create_task(client.writer.drain())
        async with shared.client() as other:
            # This takes turns of the same event loop, in which the body would have been read.
            other.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await other.answer()).status == 200
        assert len(exchange.body) < 1 << 20
        exchange.reply.resume()
        async with asyncio.timeout(rig.PATIENCE_S):
            while not exchange.complete:
                exchange.news.clear()
                await exchange.news.wait()
        await sending
        assert len(exchange.body) == size
        exchange.answer(b"all")
        assert (await client.answer()).body == b"all"


# What the function hears about where the request came from.


async def test_where_it_came_from(play: Function) -> None:
    lies = [
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Host: evil",
        b"X-Forwarded-Proto: https",
        b"Forwarded: for=1.2.3.4",
    ]
    lies += [b"SB-Request-Id: mine", b"X-SB-Execution-Id: mine", b"X-Outlast-Peer: 1.2.3.4:5"]
    async with playing(play) as (_, client):
        client.send(post(*lies))
        exchange = await play.next()
        port = client.writer.get_extra_info("sockname")[1]
        added = exchange.added()
        assert exchange.head.fields == ()
        exchange.answer()
        answer = await client.answer()
        assert added == {
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-host": "example.com",
            "x-forwarded-proto": "http",
            "x-outlast-peer": f"127.0.0.1:{port}",
            "sb-request-id": answer.fields[b"sb-request-id"].decode(),
        }
        assert answer.fields[b"x-sb-execution-id"] == rig.EXECUTION_ID.encode()


async def test_a_trusted_proxy_is_believed(play: Function) -> None:
    said = [
        b"X-Forwarded-For: 1.2.3.4",
        b"x-forwarded-for: 5.6.7.8",
        b"X-Forwarded-Host: a.example",
        b"X-Forwarded-Proto: https",
    ]
    several = [b"X-Forwarded-Host: b.example:8443, 10.0.0.1", b"X-Forwarded-Proto: HTTPS , http"]
    wrong = [b"X-Forwarded-Host: a/b", b"X-Forwarded-Proto:"]
    async with playing(play, trust_proxy=True) as (_, client):
        for lines, wanted in [
            (said, ("1.2.3.4, 5.6.7.8, 127.0.0.1", "a.example", "https")),
            (several, ("127.0.0.1", "b.example:8443", "https")),
            (wrong, ("127.0.0.1", "example.com", "http")),
            ([], ("127.0.0.1", "example.com", "http")),
        ]:
            client.send(post(*lines))
            exchange = await play.next()
            added = exchange.added()
            assert (added["x-forwarded-for"], added["x-forwarded-host"], added["x-forwarded-proto"]) == wanted
            # Which is what functions make the URL of.
            assert exchange.head.host.decode() == wanted[1]
            exchange.answer()
            await client.answer()


async def test_what_the_function_says_about_cors_goes_through_untouched(play: Function) -> None:
    cors = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-headers", b"authorization, x-client-info")]
    async with playing(play) as (_, client):
        client.send(GET.replace(b"GET", b"OPTIONS"))
        (await play.next()).answer(fields=[*cors, (b"sb-request-id", b"forged"), (b"x-sb-execution-id", b"forged")])
        answer = await client.answer()
        assert [field for field in answer.head.fields if field in cors] == cors
        # These are the gateway's to say.
        assert answer.fields[b"x-sb-execution-id"] == rig.EXECUTION_ID.encode()
        assert answer.fields[b"sb-request-id"] != b"forged"


async def test_every_way_a_function_can_fail(play: Function) -> None:
    async with playing(play) as (shared, client):
        for end in outcome.RequestEnd:
            client.send(GET)
            (await play.next()).reply.fail(end, rig.EXECUTION_ID, limit=rig.CPU_LIMIT, retry_after_s=1)
            answer = await client.answer()
            assert (answer.status, answer.fields[b"sb-error-code"]) == (end.status, end.code.encode())
            assert answer.fields[b"x-sb-execution-id"] == rig.EXECUTION_ID.encode()
            assert answer.fields[b"retry-after"] == b"1"
            # Web pages of other origins may know, too.
            assert answer.fields[b"access-control-allow-origin"] == b"*"
            assert answer.fields[b"access-control-expose-headers"] == b"*"
            if end is not outcome.RequestEnd.NOT_FOUND:
                assert answer.json["code"] == end.code
                assert (answer.json["reason"], answer.json["used"], answer.json["limit"]) == ("cpu", 5, 4)
                assert answer.json["execution_id"] == rig.EXECUTION_ID
        assert shared.served[-1].request_id == answer.fields[b"sb-request-id"].decode()
        assert [served.why for served in shared.served] == [end.words for end in outcome.RequestEnd]


async def test_what_cuts_an_answer_off_is_told(play: Function) -> None:
    async with playing(play) as (shared, client):
        client.send(GET)
        exchange = await play.next()
        exchange.reply.begin(response(), rig.EXECUTION_ID, b"some", last=False)
        exchange.reply.fail(outcome.RequestEnd.IDLE_TIMEOUT, rig.EXECUTION_ID)
        served = await shared.until_served(1)
        assert (served.status, served.why) == (200, outcome.RequestEnd.IDLE_TIMEOUT.words)
        async with shared.client() as leaving:
            leaving.send(GET)
            await play.next()
        served = await shared.until_served(2)
        assert (served.status, served.why) == (0, "the client left before its answer was complete")


async def test_what_a_client_makes_up_is_no_function_and_is_not_told_at_any_length() -> None:
    method, path = b"M" * 10_000, b"/made-up" + b"x" * 10_000
    async with rig.gateway({}) as shared, shared.client() as client:
        client.send(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, path))
        assert (await client.answer()).status == 404
        served = await shared.until_served(1)
        assert (served.function, served.why) == ("", outcome.RequestEnd.NOT_FOUND.words)
        assert served.method == method[:MAX_METHOD_CHARS].decode()
        assert served.path == path[:MAX_PATH_CHARS].decode()


async def test_health(served: Rig) -> None:
    async with served.client() as client:
        client.send(b"GET /_internal/health HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json) == (200, {"message": "ok"})


# Denials.


async def test_the_ways_to_be_denied(play: Function) -> None:
    play.verify_jwt = True
    async with playing(play, verifier=JwtVerifier(secret="s" * 32, api_keys=["sb_mine"])) as (shared, client):
        for line, body in [
            (b"A: b", b'{"msg":"Error: Missing authorization header"}'),
            (b"Authorization: Basic eDp5", b"""{"msg":"Error: Auth header is not 'Bearer {token}'"}"""),
            (b"Authorization: Bearer a.b.c", b'{"msg":"Invalid JWT"}'),
            (b"Authorization: Bearer %b.b.c" % NESTED, b'{"msg":"Invalid JWT"}'),
            (b"apikey: sb_other", b'{"msg":"Unknown API key"}'),
        ]:
            # The body came along, so the connection can go on.
            client.send(post(line, b"Content-Length: 2", body=b"hi"))
            answer = await client.answer()
            assert (answer.status, answer.body, answer.head.keep_alive) == (401, body, True)
            assert answer.fields[b"www-authenticate"].startswith(b"Bearer")
            assert answer.fields[b"sb-error-code"]
        assert [bool(request.why) for request in shared.served] == [True] * 5
        assert play.count == 0
        # A preflight brings no credentials.
        assert (await ask(client, play, GET.replace(b"GET", b"OPTIONS"), b"")).status == 200


async def test_an_api_key_reaches_the_function_as_it_was_sent(play: Function) -> None:
    play.verify_jwt = True
    sent = ((b"authorization", b"Bearer sb_mine"), (b"apikey", b"sb_mine"))
    async with playing(play, verifier=JwtVerifier(secret="s" * 32, api_keys=["sb_mine"])) as (_, client):
        for fields in (sent, sent[1:]):
            client.send(post(*(b"%b: %b" % field for field in fields), b"Content-Length: 0"))
            exchange = await play.next()
            assert exchange.head.fields == fields
            exchange.answer()
            assert (await client.answer()).status == 200


async def test_a_body_that_comes_while_a_token_is_checked_is_complete(play: Function) -> None:
    class Later(Pending):
        def __init__(self) -> None:
            self.resolved = asyncio.Event()

        async def resolve(self) -> Denial | None:
            await self.resolved.wait()
            return None

    class Verifier:
        def check(self, _: bytes | None) -> Pending:
            return later

    play.verify_jwt = True
    later = Later()
    async with playing(play, verifier=Verifier()) as (_, client):
        await client.send_in_pieces([post(b"Content-Length: 9", body=b"one"), b"two", b"six"])
        later.resolved.set()
        exchange = await play.next()
        exchange.reply.proceed()
        await exchange.until(b"onetwosix")
        exchange.answer()
        assert (await client.answer()).status == 200


async def test_a_client_may_leave_while_its_token_is_checked(play: Function) -> None:
    play.verify_jwt = True
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def fetch(_: str) -> bytes:
        asked.set()
        await go_on.wait()
        return b'{"keys":[]}'

    token = b"Authorization: Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA"
    verifier = JwtVerifier(jwks_url="https://issuer.test/jwks", fetch=fetch)
    async with playing(play, verifier=verifier) as (shared, client), shared.client() as other:
        client.send(post(token))
        other.send(post(token))
        async with asyncio.timeout(rig.PATIENCE_S):
            await asked.wait()
        client.abort()
        assert (await shared.until_served(1)).status == 0
        # The other one waits for the same keys, and is not left alone with that.
        go_on.set()
        answer = await other.answer()
        assert (answer.status, answer.body) == (401, b'{"msg":"Invalid JWT"}')
    assert play.count == 0


# Clients that leave.


@pytest.mark.parametrize("request_", [GET, post(b"Content-Length: 2", body=b"hi")], ids=["without", "with a body"])
@pytest.mark.parametrize("how", ["reset", "half-close"])
async def test_a_client_that_leaves_cancels_its_request_and_nothing_else(
    play: Function, how: str, request_: bytes
) -> None:
    async with playing(play) as (shared, client), shared.client() as other:
        other.send(GET)
        stays = await play.next()
        client.send(request_)
        leaves = await play.next()
        client.reset() if how == "reset" else client.writer.write_eof()
        async with asyncio.timeout(rig.PATIENCE_S):
            await leaves.cancelled.wait()
        assert (await shared.until_served(1)).status == 0
        assert not stays.cancelled.is_set()
        stays.answer(b"here")
        assert (await other.answer()).body == b"here"


async def test_a_server_that_closes_lets_answers_end(play: Function) -> None:
    async with playing(play, timeouts=brief()) as (shared, client), shared.client() as idle:
        client.send(GET)
        exchange = await play.next()
        idle.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await idle.answer()).status == 404
        await shared.gateway.close()
        assert await idle.rest() == b""
        exchange.answer(b"the last")
        answer = await client.answer()
        assert (answer.body, answer.head.keep_alive) == (b"the last", False)
        async with asyncio.timeout(rig.PATIENCE_S):
            # Also if clients do not close their sides.
            await shared.gateway.wait_closed()
        assert await client.rest() == b""


async def test_a_request_whose_head_has_begun_before_the_server_closes_is_answered(play: Function) -> None:
    async with playing(play) as (shared, client):
        answer = await ask(client, play, GET + GET[:10], b"one")
        assert answer.head.keep_alive
        await shared.gateway.close()
        answer = await ask(client, play, GET[10:], b"the last")
        assert (answer.body, answer.head.keep_alive) == (b"the last", False)
        assert await client.rest() == b""


async def test_an_answer_is_complete_though_the_server_closes_before_it_has_read_what_is_pipelined(
    play: Function,
) -> None:
    async with playing(play) as (shared, client):
        client.send(GET * 100_000)
        exchange = await play.next()
        await shared.gateway.close()
        exchange.answer(bytes(4 << 20))
        answer = await client.answer()
        assert (len(answer.body), answer.head.keep_alive) == (4 << 20, False)
        assert await client.rest() == b""
    assert play.count == 1


@pytest.mark.parametrize("is_kept", [True, False], ids=["on a kept connection", "on a new one"])
async def test_a_request_that_was_sent_before_the_server_closes_is_answered(play: Function, is_kept: bool) -> None:
    async with playing(play) as (shared, kept):
        if is_kept:
            kept.send(GET)
            (await play.next()).answer()
            await kept.answer()
        # The event loop hears of none of this before the server closes.
        connection = (
            socket.socket(fileno=os.dup(kept.writer.get_extra_info("socket").fileno()))
            if is_kept
            else socket.create_connection(shared.address)
        )  # noqa: ASYNC
        connection.sendall(GET)
        await shared.gateway.close()
        late = kept if is_kept else Client(*await asyncio.open_connection(sock=connection))
        (await play.next()).answer(b"the last")
        answer = await late.answer()
        assert (answer.body, answer.head.keep_alive) == (b"the last", False)
        assert await late.rest() == b""
        connection.close()


async def test_a_connection_that_comes_just_before_the_server_closes_is_closed_too(play: Function) -> None:
    loop = asyncio.get_running_loop()
    waiting, bell = socket.socketpair()
    waiting.setblocking(False)
    with waiting, bell:
        async with playing(play, timeouts=brief()) as (shared, _):
            listens = asyncio.Event()

            async def close_when_told() -> None:
                listens.set()
                await loop.sock_recv(waiting, 1)
                await shared.gateway.close()

            closing = asyncio.create_task(close_when_told())
            await listens.wait()
            # The event loop hears of both at once, of the bell first: it accepts the connection, closes, and only then
            # tells the connection that it is there.
            bell.send(b"!")
            late = socket.create_connection(shared.address)  # noqa: ASYNC, nothing may run in between
            await closing
            reader, writer = await asyncio.open_connection(sock=late)
            assert await Client(reader, writer).rest() == b""
            writer.close()


async def test_a_server_that_is_in_a_hurry_says_so(play: Function) -> None:
    async with playing(play) as (shared, client):
        client.send(GET)
        await play.next()
        shared.gateway.abort()
        served = await shared.until_served(1)
        assert (served.status, served.why) == (0, "the server shut down before its answer was complete")


# Tunnels.


async def tunnel(client: Client, function: Function, early: bytes = b"") -> rig.Exchange:
    client.send(UPGRADE + early)
    exchange = await function.next()
    assert (exchange.invocation.upgrades, exchange.head.upgrade) == (True, b"websocket")
    exchange.reply.begin(SWITCH, rig.EXECUTION_ID, b"", last=False)
    answer = await client.answer()
    assert (answer.status, answer.head.upgrade) == (101, b"websocket")
    assert (b"sec-websocket-accept", b"y") in answer.head.fields
    return exchange


async def test_a_tunnel_carries_both_ways_and_ends_with_the_worker(play: Function) -> None:
    async with playing(play, timeouts=brief(body_s=SHORT, keep_alive_s=SHORT)) as (shared, client):
        exchange = await tunnel(client, play)
        client.send(b"GET /none HTTP/1.1\r\n\r\n")
        await exchange.until(b"GET /none HTTP/1.1\r\n\r\n")
        await asyncio.sleep(2 * SHORT)  # no timeout of the gateway's own ends a tunnel
        exchange.reply.data(b"\x81\x02hi", last=False)
        await client.exactly(b"\x81\x02hi")
        exchange.reply.data(b"bye", last=True)
        assert await client.rest() == b"bye"
        assert (await shared.until_served(1)).status == 101


async def test_a_tunnel_ends_with_the_client(play: Function) -> None:
    async with playing(play, timeouts=brief()) as (shared, client):
        exchange = await tunnel(client, play)
        client.writer.write_eof()
        async with asyncio.timeout(rig.PATIENCE_S):
            while not exchange.hung_up:
                exchange.news.clear()
                await exchange.news.wait()
        # It has closed one direction only.
        exchange.reply.data(b"bye", last=True)
        assert await client.rest() == b"bye"
        async with asyncio.timeout(rig.PATIENCE_S):
            await shared.gateway.close()
            await shared.gateway.wait_closed()
    async with playing(play) as (_, client):
        exchange = await tunnel(client, play)
        client.reset()
        async with asyncio.timeout(rig.PATIENCE_S):
            await exchange.cancelled.wait()


async def test_the_last_that_comes_by_a_tunnel_arrives_whatever_the_client_was_sending(play: Function) -> None:
    async with playing(play) as (_, client):
        exchange = await tunnel(client, play)
        exchange.reply.pause()
        client.send(bytes(1 << 20))
        exchange.reply.data(bytes(4 << 20), last=True)
        assert len(await client.rest()) == 4 << 20


@pytest.mark.parametrize("size", [5, 1 << 20], ids=["little", "more than is read ahead"])
async def test_what_a_client_says_before_the_tunnel_is_there_comes_first(play: Function, size: int) -> None:
    async with playing(play) as (_, client):
        early = bytes(i % 251 for i in range(size))
        exchange = await tunnel(client, play, early)
        client.send(b"late")
        await exchange.until(early + b"late")


async def test_back_pressure_in_a_tunnel(play: Function) -> None:
    async with playing(play) as (_, client):
        exchange = await tunnel(client, play)
        exchange.reply.pause()
        client.send(bytes(16 << 20))
        exchange.reply.data(b"x", last=False)
        await client.exactly(b"x")
        assert len(exchange.body) < 1 << 20
        exchange.reply.resume()
        await exchange.until(bytes(16 << 20))


async def test_what_comes_before_the_tunnel_may_be_all_that_the_worker_takes(play: Function) -> None:
    class Full(rig.Exchange):
        """Says so once, as a link does, until it has room again."""

        def write(self, data: bytes) -> None:
            if not self.body:
                self.reply.pause()
            super().write(data)

    play.exchange = Full  # type: ignore[method-assign]
    async with playing(play) as (_, client):
        exchange = await tunnel(client, play, b"early")
        client.send(bytes(16 << 20))
        for _ in range(100):
            # This takes turns of the same event loop, in which what the client sends would have been read.
            exchange.reply.data(b"x", last=False)
            await client.exactly(b"x")
        assert exchange.body == b"early"
        exchange.reply.resume()
        await exchange.until(b"early" + bytes(16 << 20))


async def test_an_upgrade_that_the_function_declines_is_a_request_like_others(play: Function) -> None:
    async with playing(play) as (_, client):
        answer = await ask(client, play, UPGRADE, b"no tunnel here")
        assert (answer.status, answer.body, answer.head.keep_alive) == (200, b"no tunnel here", True)
        assert (await ask(client, play, GET, b"next")).body == b"next"


async def test_ipv6(play: Function) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with playing(play) as (shared, _):
        try:
            address = await shared.gateway.listen("::1", 0)
        except OSError:
            pytest.skip("no IPv6 here")
        reader, writer = await asyncio.open_connection(*address)
        client = Client(reader, writer)
        client.send(b"GET /play HTTP/1.0\r\n\r\n")
        exchange = await play.next()
        port = writer.get_extra_info("sockname")[1]
        assert exchange.head.host == b"[::1]:%d" % address[1]
        assert exchange.added()["x-outlast-peer"] == f"[::1]:{port}"
        assert exchange.added()["x-forwarded-for"] == "::1"
        exchange.answer()
        assert (await client.answer()).status == 200
        client.abort()
