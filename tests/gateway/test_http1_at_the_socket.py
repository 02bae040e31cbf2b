"""Every case of the head and body parsers once more, as bytes on a connection: what is answered, and what is not."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.gateway import rig
from tests.gateway.rig import Echo, Everywhere, Rig
from tests.wire import http1_cases as cases

from outlast.wire import http1

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND = b"GET /second HTTP/1.1\r\nHost: second\r\n\r\n"
MAX_BYTEWISE = 600
"""Longer messages differ from shorter ones in their length alone."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echo() -> AsyncIterator[tuple[Rig, Echo]]:
    function = Echo()
    async with rig.gateway(Everywhere(function)) as served:
        yield served, function


def routed(raw: bytes) -> bytes:
    """The same message for a function, unless that would make it longer than a head may be."""
    return raw if len(raw) > 30_000 else raw.replace(b" / HTTP/", b" /echo HTTP/", 1)


def split(raw: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    return [raw[start:end] for start, end in pairwise(places)]


def by_bytes(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


async def expect_refusal(echo: tuple[Rig, Echo], pieces: list[bytes], status: int, reaches: int = 0) -> None:
    served, function = echo
    before = function.count
    async with served.client() as client:
        await client.send_in_pieces([*pieces, SECOND])
        answer = await client.answer()
        assert answer.status == status
        assert not answer.head.keep_alive
        assert answer.fields[b"sb-error-code"]
        assert answer.fields[b"sb-request-id"]
        # Nothing behind it is answered, nor reaches a function.
        assert await client.rest() == b""
    assert function.count - before <= reaches


async def expect_answer(echo: tuple[Rig, Echo], case: cases.Accepted, pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    head = http1.parse_request(raw[: http1.head_end(raw)])
    async with echo[0].client() as client:
        await client.send_in_pieces([*pieces, SECOND])
        answer = await client.answer(head.method)
        assert set(answer.interim) <= {100}
        assert answer.head.keep_alive is head.keep_alive
        if head.path in (b"/", b""):
            assert (answer.status, answer.body) == (404, b"Function not found")
        else:
            assert answer.status == 200
            said = answer.json
            assert said["method"].encode() == head.method
            assert said["target"].encode("latin-1") == head.path + head.query
            assert said["host"].encode() == (head.host or b"127.0.0.1:%d" % echo[0].address[1])
            assert said["body"].encode("latin-1") == case.content
            # What concerns one hop stays here; what does not goes on.
            assert {name.decode(): value.decode("latin-1") for name, value in head.fields}.items() <= said[
                "fields"
            ].items()
        if head.keep_alive:
            assert (await client.answer()).json["target"] == "/second"
            assert client.beyond == b""
        else:
            assert await client.rest() == b""


@pytest.mark.parametrize("case", cases.REFUSED, ids=str)
async def test_refused(echo: tuple[Rig, Echo], case: cases.Refused) -> None:
    await expect_refusal(echo, [case.raw], case.status)
    await expect_refusal(echo, [case.raw[:11], case.raw[11:]], case.status)
    if len(case.raw) <= MAX_BYTEWISE:
        await expect_refusal(echo, by_bytes(case.raw), case.status)


@pytest.mark.parametrize("case", cases.ACCEPTED, ids=str)
async def test_accepted(echo: tuple[Rig, Echo], case: cases.Accepted) -> None:
    raw = routed(case.raw)
    await expect_answer(echo, case, [raw])
    await expect_answer(echo, case, [raw[:11], raw[11:]])
    if len(raw) <= MAX_BYTEWISE:
        await expect_answer(echo, case, by_bytes(raw))


@pytest.mark.parametrize(("raw", "content"), cases.CHUNKED_BODIES.values(), ids=cases.CHUNKED_BODIES)
async def test_chunked_body(echo: tuple[Rig, Echo], raw: bytes, content: bytes) -> None:
    head = cases.post(cases.CHUNKED).replace(b" / ", b" /echo ")
    case = cases.Accepted("chunked", head + raw, content=content)
    await expect_answer(echo, case, [head + raw])
    await expect_answer(echo, case, [head, raw])
    if len(raw) <= MAX_BYTEWISE:
        await expect_answer(echo, case, by_bytes(head + raw))


@pytest.mark.parametrize("raw", cases.BAD_CHUNKED_BODIES.values(), ids=cases.BAD_CHUNKED_BODIES)
async def test_bad_chunked_body(echo: tuple[Rig, Echo], raw: bytes) -> None:
    head = cases.post(cases.CHUNKED).replace(b" / ", b" /echo ")
    await expect_refusal(echo, [head + raw], 400)
    # Here the function has its head already; the request behind it is still none of its business.
    await expect_refusal(echo, [head, raw], 400, reaches=1)
    if len(raw) <= MAX_BYTEWISE:
        await expect_refusal(echo, [head, *by_bytes(raw)], 400, reaches=1)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(cases.ACCEPTED), st.lists(st.integers(0, 1 << 15), max_size=6))
async def test_accepted_however_it_is_split(echo: tuple[Rig, Echo], case: cases.Accepted, cuts: list[int]) -> None:
    await expect_answer(echo, case, split(routed(case.raw), cuts))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(cases.REFUSED), st.lists(st.integers(0, 1 << 15), max_size=6))
async def test_refused_however_it_is_split(echo: tuple[Rig, Echo], case: cases.Refused, cuts: list[int]) -> None:
    await expect_refusal(echo, split(case.raw, cuts), case.status)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """Method, body and raw request, but for its number (``%d``)."""
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS"]))
    content = draw(
        st.binary(max_size=200) | st.sampled_from([b"GET /echo/x HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n"])
    )
    head = b"%b /echo/NUMBER HTTP/1.1\r\nHost: example.com\r\n" % method
    if draw(st.booleans()):
        extra = draw(st.sampled_from([b"", b"Expect: 100-continue\r\n"]))
        return method, content, head + extra + b"Content-Length: %d\r\n\r\n" % len(content) + content
    pieces = split(content, draw(st.lists(st.integers(0, 200), max_size=3))) if content else []
    framed = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    trailers = draw(st.sampled_from([b"", b"X-Trailer: 1\r\nContent-Length: 5\r\n"]))
    return method, content, head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailers + b"\r\n"


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests(), min_size=1, max_size=12), st.lists(st.integers(0, 1 << 12), max_size=12))
async def test_every_pipelined_request_gets_its_own_answer(
    echo: tuple[Rig, Echo], sent: list[tuple[bytes, bytes, bytes]], cuts: list[int]
) -> None:
    raw = b"".join(
        request.replace(b"NUMBER", b"%d" % number, 1) for number, (_method, _content, request) in enumerate(sent)
    )
    async with echo[0].client() as client:
        await client.send_in_pieces(split(raw, cuts))
        for number, (method, content, _) in enumerate(sent):
            answer = await client.answer(method)
            assert answer.status == 200
            if method != b"HEAD":
                said = answer.json
                assert said["target"] == f"/echo/{number}"
                assert said["body"].encode("latin-1") == content
        client.send(b"GET /echo/last HTTP/1.0\r\n\r\n")
        assert (await client.answer()).json["target"] == "/echo/last"
        assert await client.rest() == b""


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.sampled_from([SECOND, b"\r\n", b"0\r\n\r\n"]), max_size=8))
@example([b"sb-request-id", SECOND])
async def test_random_bytes_get_nothing_but_whole_answers(echo: tuple[Rig, Echo], pieces: list[bytes]) -> None:
    async with echo[0].client() as client:
        await client.send_in_pieces(pieces)
        client.writer.write_eof()
        try:
            while True:
                assert (await client.answer()).status in (200, 400, 404, 408, 414, 417, 431)
        except AssertionError as error:
            assert "the connection ended in the head b''" in str(error)
