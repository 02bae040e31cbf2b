"""The requests that no worker has: in which order they leave, and that none stays for ever."""

import pytest
from tests.supervisor.stub_workers import Caller, House, house

from outlast.core.outcome import RequestEnd
from outlast.supervisor import backlog
from outlast.supervisor.backlog import Backlog
from outlast.supervisor.exchange import Exchange
from outlast.wire.invocation import Invocation


def exchange(there: House) -> tuple[Exchange, Caller]:
    caller = Caller()
    invocation = Invocation("r-1", b"GET", b"GET /stub HTTP/1.1\r\nhost: x\r\n\r\n")
    caller.exchange = Exchange(there.pool, invocation, caller, b"", True, 0)
    return caller.exchange, caller


def busy() -> RequestEnd:
    return RequestEnd.WORKER_BUSY


async def test_the_oldest_leaves_first() -> None:
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        first, second = exchange(there)[0], exchange(there)[0]
        for one in (first, second):
            queue.add(one)
        assert [*queue.waiting] == [first, second]
        assert (queue.pop(), queue.pop()) == (first, second)
        assert not queue.waiting
        queue.close()


async def test_one_that_comes_back_is_the_next() -> None:
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        first, second = exchange(there)[0], exchange(there)[0]
        for one in (first, second):
            queue.add(one)
        since = queue.pop().waits_since
        queue.add(first)
        assert [*queue.waiting] == [first, second]
        assert first.waits_since == since
        queue.close()


async def test_one_can_be_taken_out_once() -> None:
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        first, second = exchange(there)[0], exchange(there)[0]
        for one in (first, second):
            queue.add(one)
        assert queue.remove(first)
        assert not queue.remove(first)
        assert [*queue.waiting] == [second]
        queue.close()


async def test_all_have_waited_however_they_leave() -> None:
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        for _ in range(3):
            queue.add(exchange(there)[0])
        queue.pop()
        # For a worker of the files as they were when it came, or because its caller has left.
        queue.remove(queue.waiting[0])
        queue.fail(RequestEnd.BOOT_ERROR)
        assert sum(queue.waits.counts) == 3
        queue.close()


async def test_the_oldest_or_all_can_be_failed() -> None:
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        callers = []
        for _ in range(3):
            one, caller = exchange(there)
            queue.add(one)
            callers.append(caller)
        queue.fail(RequestEnd.BOOT_ERROR, 1)
        assert [caller.ended.done() for caller in callers] == [True, False, False]
        # What is told to one may bring the next, which is not meant.
        late, late_caller = exchange(there)
        callers[1].then = lambda: queue.add(late)
        queue.fail(RequestEnd.BOOT_ERROR)
        assert [await caller.end() for caller in callers] == [RequestEnd.BOOT_ERROR] * 3
        assert [*queue.waiting] == [late]
        assert not late_caller.ended.done()
        queue.close()


async def test_nobody_waits_for_longer_than_there_is_hope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_WAIT_S", 0.05)
    async with house() as there:
        queue = Backlog(busy, lambda: None)
        gone, _ = exchange(there)
        first, first_caller = exchange(there)
        for one in (gone, first):
            queue.add(one)
        # That the one is gone which the timer was set for keeps nobody.
        queue.remove(gone)
        later, later_caller = exchange(there)
        first_caller.then = lambda: queue.add(later)
        assert await first_caller.end() is RequestEnd.WORKER_BUSY
        assert first_caller.detail == {"retry_after_s": 1}
        assert await later_caller.end() is RequestEnd.WORKER_BUSY
        assert later.waits_since >= first.waits_since + 0.05
        assert not queue.waiting
