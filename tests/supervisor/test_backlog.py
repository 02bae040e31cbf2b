"""The requests that no worker has: in which order they leave, and that none stays for ever."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.supervisor.stub_workers import Caller

from outlast.core.outcome import RequestEnd
from outlast.supervisor import backlog
from outlast.supervisor.backlog import Backlog
from outlast.supervisor.exchange import Exchange
from outlast.wire.invocation import Invocation


@pytest_asyncio.fixture
async def queue() -> AsyncIterator[Backlog]:
    queue = Backlog(lambda: False, lambda: (RequestEnd.WORKER_BUSY, ""), lambda: None)
    yield queue
    queue.close()


def exchange() -> Exchange:
    invocation = Invocation("r-1", b"GET", b"GET /stub HTTP/1.1\r\nhost: x\r\n\r\n")
    return Exchange(None, invocation, Caller(), b"", True, 0)  # type: ignore[arg-type]


def add(queue: Backlog, count: int) -> list[Exchange]:
    added = [exchange() for _ in range(count)]
    for one in added:
        queue.add(one)
    return added


def caller_of(one: Exchange) -> Caller:
    assert isinstance(one.reply, Caller)
    return one.reply


async def test_the_oldest_leaves_first(queue: Backlog) -> None:
    first, second = add(queue, 2)
    assert [*queue.waiting] == [first, second]
    assert (queue.pop(), queue.pop()) == (first, second)
    assert not queue.waiting


async def test_one_that_comes_back_is_the_next(queue: Backlog) -> None:
    first, second = add(queue, 2)
    since = queue.pop().waits_since
    queue.add(first)
    assert [*queue.waiting] == [first, second]
    assert first.waits_since == since


async def test_one_can_be_taken_out_once(queue: Backlog) -> None:
    first, second = add(queue, 2)
    assert queue.remove(first)
    assert not queue.remove(first)
    assert [*queue.waiting] == [second]


async def test_all_have_waited_however_they_leave(queue: Backlog) -> None:
    add(queue, 3)
    queue.pop()
    # For a worker of the files as they were when it came, or because its caller has left.
    queue.remove(queue.waiting[0])
    queue.fail(RequestEnd.BOOT_ERROR)
    assert sum(queue.waits.counts) == 3


async def test_the_oldest_or_all_can_be_failed(queue: Backlog) -> None:
    callers = [caller_of(one) for one in add(queue, 3)]
    queue.fail(RequestEnd.BOOT_ERROR, 1)
    assert [caller.ended.done() for caller in callers] == [True, False, False]
    # What is told to one may bring the next, which is not meant.
    late = exchange()
    callers[1].then = lambda: queue.add(late)
    queue.fail(RequestEnd.BOOT_ERROR)
    assert [await caller.end() for caller in callers] == [RequestEnd.BOOT_ERROR] * 3
    assert [*queue.waiting] == [late]
    assert not caller_of(late).ended.done()


async def test_nobody_waits_for_longer_than_there_is_hope(queue: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
    gone, first = add(queue, 2)
    # That the one is gone which the timer was set for keeps nobody.
    queue.remove(gone)
    later = exchange()
    caller = caller_of(first)
    caller.then = lambda: queue.add(later)
    assert await caller.end() is RequestEnd.WORKER_BUSY
    assert caller.retry_after_s == 1
    assert await caller_of(later).end() is RequestEnd.WORKER_BUSY
    assert later.waits_since >= first.waits_since + 0.05
    assert not queue.waiting


async def test_the_time_in_which_the_node_stood_still_does_not_count(
    queue: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAX_WAIT_S", "MAX_FETCHING_S"):
        monkeypatch.setattr(backlog, name, 0.05)
    monkeypatch.setattr(backlog, "LATE_S", 0.1)
    [one] = add(queue, 1)
    # For the event loop, that is the same.
    time.sleep(0.2)  # noqa: ASYNC251
    again = asyncio.get_running_loop().time()
    assert await caller_of(one).end() is RequestEnd.WORKER_BUSY
    assert asyncio.get_running_loop().time() >= again + 0.05


async def test_the_time_in_which_something_is_fetched_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
    monkeypatch.setattr(backlog, "LOOK_EVERY_S", 0.02)
    looks: list[float] = []
    loop = asyncio.get_running_loop()

    def is_fetching() -> bool:
        looks.append(loop.time())
        return len(looks) < 10

    queue = Backlog(is_fetching, lambda: (RequestEnd.BOOT_ERROR, "why"), lambda: None)
    [one] = add(queue, 1)
    assert await caller_of(one).end() is RequestEnd.BOOT_ERROR
    assert caller_of(one).why == "why"
    assert loop.time() >= looks[8] + 0.05


async def test_nobody_waits_for_ever_for_what_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_FETCHING_S", 0.05)
    queue = Backlog(lambda: True, lambda: (RequestEnd.BOOT_ERROR, ""), lambda: None)
    [one] = add(queue, 1)
    assert await caller_of(one).end() is RequestEnd.BOOT_ERROR
