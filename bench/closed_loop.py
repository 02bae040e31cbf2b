"""So many connections, each of which asks again as soon as it is answered: how much a server can do."""

import itertools
import select
from collections.abc import Sequence
from time import perf_counter

from bench.connection import PATIENCE_S, BenchError, Connection, Target


def run(
    urls: Sequence[str], *, connections: int, seconds: float | None = None, requests: int | None = None
) -> list[float]:
    """Asks the addresses in turn, for so long or so often, and returns the latencies in ms.

    Raises BenchError, also when a single request failed: refusing work is no way to be fast.
    """
    targets = [Target.of(url) for url in urls]
    turns = itertools.cycle([target.request for target in targets])
    latencies: list[float] = []
    open_now: dict[int, Connection] = {}
    with select.epoll() as poll:
        try:
            until = perf_counter() + (seconds if seconds is not None else float("inf"))
            left = requests if requests is not None else float("inf")
            for _ in range(int(min(connections, left))):
                connection = Connection(targets[0].address)
                open_now[connection.fileno] = connection
                poll.register(connection.fileno, select.EPOLLIN)
                connection.ask(next(turns), perf_counter())
                left -= 1
            while open_now:
                events = poll.poll(PATIENCE_S)
                if not events:
                    raise BenchError(f"{urls[0]}: no answer within {PATIENCE_S:.0f} s")
                for descriptor, _ in events:
                    connection = open_now[descriptor]
                    answer = connection.read()
                    if answer is None:
                        continue
                    now = perf_counter()
                    if answer[0] != 200:
                        raise BenchError(f"{urls[0]} answered {answer}")
                    latencies.append((now - connection.due) * 1000)
                    if now < until and left > 0:
                        connection.ask(next(turns), now)
                        left -= 1
                    else:
                        poll.unregister(descriptor)
                        open_now.pop(descriptor).close()
        except OSError as error:
            raise BenchError(f"{urls[0]}: {error!r}") from error
        finally:
            for connection in open_now.values():
                connection.close()
    return latencies
