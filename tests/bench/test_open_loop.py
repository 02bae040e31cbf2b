"""Requests at fixed moments: that they are sent when they are due, and what is counted."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

from bench.connection import Answer

from bench import open_loop

COUNT = 5
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def answering(
    to_wait_for: int, answer: bytes = ANSWER, *, asked_by: asyncio.Queue[object] | None = None
) -> AsyncIterator[str]:
    """A server that answers nobody before so many have asked.

    With ``asked_by`` it keeps connections, and puts there by which one each request came.
    """
    all_here = asyncio.Event()
    arrived = itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                if asked_by is not None:
                    asked_by.put_nowait(writer)
                if next(arrived) == to_wait_for:
                    all_here.set()
                await all_here.wait()
                writer.write(answer)
                if asked_by is None:
                    writer.close()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def asked(url: str, count: int) -> list[Answer]:
    return await asyncio.to_thread(open_loop.ask, url, open_loop.evenly(100), count / 100)


async def test_a_request_that_is_due_is_sent_whatever_became_of_those_before() -> None:
    async with answering(COUNT) as url:
        answers = await asked(url, COUNT)
    assert [(answer.status, answer.text) for answer in answers] == [(200, "ok")] * COUNT
    # The first had to wait for the last, which was due 40 ms later.
    assert answers[0].latency_ms >= 40
    assert [round(answer.due_at - answers[0].due_at, 2) for answer in answers] == [0, 0.01, 0.02, 0.03, 0.04]


async def test_what_waits_for_a_connection_counts_from_when_it_was_due() -> None:
    asked_by: asyncio.Queue[object] = asyncio.Queue()
    async with answering(3, asked_by=asked_by) as url:
        answering_late = asyncio.create_task(asyncio.to_thread(open_loop.ask, url, iter([0] * COUNT), 1, connections=2))
        both = {await asked_by.get(), await asked_by.get()}
        assert len(both) == 2
        # The third cannot ask before one of the first two is answered: somebody else has to.
        other = await asked(url, 1)
        assert await asked_by.get() not in both
        answers = await answering_late
        assert {asked_by.get_nowait() for _ in range(COUNT - 2)} <= both
    assert [answer.status for answer in (*other, *answers)] == [200] * (COUNT + 1)
    assert len({answer.due_at for answer in answers}) == 1
    # The later ones were sent when the first had been answered, and count from when all of them were due.
    assert min(answer.latency_ms for answer in answers[2:]) > min(answer.latency_ms for answer in answers[:2])


async def test_a_server_may_close_its_connections_between_requests() -> None:
    async with answering(1) as url:
        answers = await asyncio.to_thread(open_loop.ask, url, iter([0, 0.2]), 1)
    assert [answer.status for answer in answers] == [200, 200]


async def test_a_connection_without_an_answer_is_told_of() -> None:
    async with answering(1, answer=b"") as url:
        [answer] = await asked(url, 1)
    assert answer.status == 0
    assert "closed without an answer" in answer.text


def test_the_same_seed_makes_the_same_moments() -> None:
    one, same, other = (list(itertools.islice(open_loop.randomly(40, seed), 200)) for seed in (1, 1, 2))
    assert one == same != other
    assert 4 < one[-1] < 6  # 200 requests at 40 a second


def test_percentiles() -> None:
    latencies = [float(number) for number in range(1, 201)]
    assert [open_loop.percentile(latencies, share) for share in (0, 50, 99, 100)] == [1, 101, 199, 200]
