"""Requests at moments fixed beforehand, whatever becomes of those before them.

A load that waits for its answers lets a slow server off: while it stands still nobody asks it anything. Here a request
that is due is sent, and its latency counts from when it was due, also where it had to wait for a connection.
"""

import random
import select
from collections.abc import Iterator, Sequence
from time import perf_counter, time

from bench.connection import MAX_IDLE_S, PATIENCE_S, Answer, BenchError, Connection, Target

MOST_CONNECTIONS = 256
"""More would only show what connecting costs: a server that falls behind would get another for each request."""


def evenly(rate: float) -> Iterator[float]:
    """Seconds from the beginning to each request."""
    number = 0
    while True:
        yield number / rate
        number += 1


def randomly(rate: float, seed: int) -> Iterator[float]:
    """The same as callers do who do not know of each other (a Poisson process). The same seed, the same moments."""
    chance = random.Random(seed)
    moment = 0.0
    while True:
        moment += chance.expovariate(rate)
        yield moment


def percentile(latencies_ms: Sequence[float], share: float) -> float:
    """The least latency that so many of 100 did not exceed."""
    ordered = sorted(latencies_ms)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def measure(url: str, moments: Iterator[float], seconds: float, connections: int = MOST_CONNECTIONS) -> list[Answer]:
    """Asks for so long. Raises BenchError, also when a single request failed."""
    answers = ask(url, moments, seconds, connections)
    if failed := [answer for answer in answers if answer.status != 200]:
        raise BenchError(f"{len(failed)} of {len(answers)} requests to {url} failed: {failed[0]}")
    return answers


def ask(url: str, moments: Iterator[float], seconds: float, connections: int = MOST_CONNECTIONS) -> list[Answer]:
    """Asks at each of the moments that are less than ``seconds``, over so many connections at most.

    Returns when all are answered, in the order in which they were due. The event loops of Python wake up by the
    millisecond, which would count as latency: this waits with select(2) instead, whose timeout is exact.
    """
    caller = _Caller(url, connections)
    try:
        return caller.run(moments, seconds)
    finally:
        caller.close()


class _Caller:
    def __init__(self, url: str, connections: int) -> None:
        self._target = Target.of(url)
        self._connections = connections
        self._poll = select.epoll()
        self._busy: dict[int, Connection] = {}
        self._free: list[Connection] = []
        self._answers: list[Answer] = []
        self._epoch = time() - perf_counter()

    def run(self, moments: Iterator[float], seconds: float) -> list[Answer]:
        began = last = perf_counter()
        following = next(moments, seconds)
        while following < seconds or self._busy:
            now = perf_counter()
            while following < seconds and (due := began + following) <= now and self._has_room:
                self._ask(due)
                last = now
                following = next(moments, seconds)
            is_next_asked = following < seconds and self._has_room
            wait = began + following - now if is_next_asked else last + PATIENCE_S - now
            if wait < 0 and not is_next_asked:
                break
            if select.select([self._poll.fileno()], (), (), max(0, wait))[0]:
                for descriptor, _ in self._poll.poll(0):
                    if descriptor in self._busy:
                        self._read(self._busy[descriptor])
                    else:
                        self._forget(descriptor)
        for connection in [*self._busy.values()]:
            self._settle(connection, 0, f"no answer within {PATIENCE_S:.0f} s")
        return sorted(self._answers)

    @property
    def _has_room(self) -> bool:
        return len(self._busy) < self._connections

    def _ask(self, due: float) -> None:
        try:
            connection = self._connection()
            self._busy[connection.fileno] = connection
            connection.ask(self._target.request, due)
        except OSError as error:
            self._answers.append(Answer(self._epoch + due, (perf_counter() - due) * 1000, 0, repr(error)))

    def _connection(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if perf_counter() - connection.free_since < MAX_IDLE_S:
                return connection
            self._drop(connection)
        connection = Connection(self._target.address)
        self._poll.register(connection.fileno, select.EPOLLIN)
        return connection

    def _read(self, connection: Connection) -> None:
        try:
            answer = connection.read()
        except OSError as error:
            self._settle(connection, 0, repr(error))
            return
        if answer is not None:
            status, body = answer
            self._settle(connection, status, body.decode(errors="replace"))

    def _settle(self, connection: Connection, status: int, text: str) -> None:
        now = perf_counter()
        del self._busy[connection.fileno]
        self._answers.append(Answer(self._epoch + connection.due, (now - connection.due) * 1000, status, text))
        if status:
            connection.free_since = now
            self._free.append(connection)
        else:
            self._drop(connection)

    def _forget(self, descriptor: int) -> None:
        """The server has closed a connection that carried no request."""
        [connection] = [connection for connection in self._free if connection.fileno == descriptor]
        self._free.remove(connection)
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._poll.unregister(connection.fileno)
        connection.close()

    def close(self) -> None:
        for connection in (*self._free, *self._busy.values()):
            connection.close()
        self._poll.close()
