"""What a tracer hears of requests: each begins once and ends once, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from tests.gateway import rig
from tests.gateway.rig import Client, Function, Rig, response

from outlast.core.outcome import RequestEnd
from outlast.gateway.auth import JwtVerifier
from outlast.wire import http1
from outlast.wire.tracing import RequestEnding

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = b"GET /play HTTP/1.1\r\nHost: example.com\r\n\r\n"


class Traced:
    context = b"traceparent: ours\r\n"

    def __init__(self, function: str, route: str, scheme: str, client: str) -> None:
        self.begun = (function, route, scheme, client)
        self.endings: asyncio.Queue[RequestEnding] = asyncio.Queue()

    def waited(self, *, is_first: bool) -> None:
        raise AssertionError("that is the supervisor's to say")

    def end(self, ending: RequestEnding) -> None:
        self.endings.put_nowait(ending)

    async def ended(self) -> RequestEnding:
        async with asyncio.timeout(rig.PATIENCE_S):
            return await self.endings.get()


class Recording:
    """Implements `outlast.wire.tracing.Tracer`."""

    def __init__(self) -> None:
        self.traces: list[Traced] = []

    def begin(
        self, request_id: str, head: http1.RequestHead, *, function: str, route: str, scheme: str, client: str
    ) -> Traced:
        self.traces.append(Traced(function, route, scheme, client))
        return self.traces[-1]

    @contextmanager
    def one(self) -> Iterator[None]:
        """In this block one request begins."""
        count = len(self.traces)
        yield
        assert len(self.traces) == count + 1


@pytest.fixture
def play() -> Function:
    return Function()


@pytest.fixture
def tracer() -> Recording:
    return Recording()


@asynccontextmanager
async def playing(play: Function, tracer: Recording, **options: object) -> AsyncIterator[tuple[Rig, Client]]:
    async with rig.gateway({"play": play}, tracer=tracer, **options) as shared, shared.client() as client:
        yield shared, client
    assert all(trace.endings.empty() for trace in tracer.traces), "one has ended twice"


async def test_the_function_gets_the_context_in_the_place_of_the_callers(play: Function, tracer: Recording) -> None:
    async with playing(play, tracer) as (_, client):
        client.send(GET[:-2] + b"Traceparent: theirs\r\nTracestate: theirs\r\nX-Else: kept\r\n\r\n")
        exchange = await play.next()
        assert exchange.invocation.trace is tracer.traces[0]
        assert exchange.head.fields == ((b"x-else", b"kept"), (b"traceparent", b"ours"))
        exchange.answer(b"well")
        await client.answer()
        ending = await tracer.traces[0].ended()
        assert (ending.status, ending.execution_id) == (200, rig.EXECUTION_ID)
        assert (ending.failure, ending.reason, ending.refused, ending.is_cut) == (None, "", "", False)
        assert ending.ms > 0


@pytest.mark.parametrize(
    ("path", "begun"),
    [
        (b"/play/on?x=1", ("play", "/play")),
        (b"/functions/v1/play", ("play", "/functions/v1/play")),
        (b"/nobody", ("", "")),
        (b"/", ("", "")),
    ],
)
async def test_a_route_has_the_name_of_a_function_that_is_served(
    play: Function, tracer: Recording, path: bytes, begun: tuple[str, str]
) -> None:
    async with playing(play, tracer) as (_, client):
        client.send(GET.replace(b"/play", path))
        if begun[0]:
            (await play.next()).answer()
        await client.answer()
        (trace,) = tracer.traces
        assert trace.begun == (*begun, "http", "127.0.0.1")
        assert ((await trace.ended()).failure is RequestEnd.NOT_FOUND) == (not begun[0])


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_proxy_is_believed_if_it_is_trusted(play: Function, tracer: Recording, trusted: bool) -> None:
    async with playing(play, tracer, trust_proxy=trusted) as (_, client):
        client.send(GET[:-2] + b"X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\r\n")
        (await play.next()).answer()
        await client.answer()
        scheme, address = tracer.traces[0].begun[2:]
        assert (scheme, address) == (("https", "1.2.3.4") if trusted else ("http", "127.0.0.1"))
        await tracer.traces[0].ended()


async def test_what_becomes_of_a_request_is_told(play: Function, tracer: Recording) -> None:
    async with playing(play, tracer) as (shared, client):
        with tracer.one():
            client.send(GET)
            (await play.next()).reply.fail(RequestEnd.WORKER_LIMIT, rig.EXECUTION_ID, limit=rig.CPU_LIMIT)
            assert (await client.answer()).status == 546
            ending = await tracer.traces[-1].ended()
            assert (ending.status, ending.failure, ending.reason) == (546, RequestEnd.WORKER_LIMIT, "cpu")
        with tracer.one():
            async with shared.client() as leaving:
                leaving.send(GET)
                await play.next()
            ending = await tracer.traces[-1].ended()
            assert (ending.status, ending.failure, ending.is_cut) == (0, None, True)
        with tracer.one():
            async with shared.client() as cut:
                cut.send(GET)
                exchange = await play.next()
                exchange.reply.begin(response(), rig.EXECUTION_ID, b"some", last=False)
                exchange.reply.fail(RequestEnd.WORKER_ERROR, rig.EXECUTION_ID)
                ending = await tracer.traces[-1].ended()
            assert (ending.status, ending.failure) == (200, RequestEnd.WORKER_ERROR)
            assert ending.execution_id == rig.EXECUTION_ID
        with tracer.one():
            client.send(GET.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
            assert (await client.answer()).status == 400
            ending = await tracer.traces[-1].ended()
            assert (ending.status, ending.execution_id) == (400, "")
            assert ending.refused
        with tracer.one():
            async with shared.client() as broken:
                broken.send(GET.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
                exchange = await play.next()
                exchange.reply.proceed()
                exchange.reply.begin(response(), rig.EXECUTION_ID, b"some", last=False)
                broken.send(b"nonsense\r\n")
                ending = await tracer.traces[-1].ended()
            assert (ending.status, ending.is_cut, bool(ending.refused)) == (200, False, True)


async def test_who_is_denied_is_traced_too(play: Function, tracer: Recording) -> None:
    play.verify_jwt = True
    async with playing(play, tracer, verifier=JwtVerifier(secret="s" * 32)) as (_, client):
        client.send(GET)
        assert (await client.answer()).status == 401
        ending = await tracer.traces[0].ended()
        assert (ending.status, ending.refused) == (401, "the request has neither an Authorization header nor an apikey")


async def test_health_and_what_is_no_request_are_not_traced(play: Function, tracer: Recording) -> None:
    async with playing(play, tracer) as (_, client):
        client.send(GET.replace(b"/play", b"/_internal/health"))
        assert (await client.answer()).status == 200
        client.send(b"what?\r\n\r\n")
        assert (await client.answer()).status == 400
    assert tracer.traces == []
