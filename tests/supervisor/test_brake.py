"""How starts are held back after failures."""

import asyncio
import json

from outlast.supervisor.brake import Brake
from outlast.telemetry.logs import Format, Log

PATIENCE_S = 10


class Braked:
    """A brake, and what it has done."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.released = asyncio.Event()
        self.brake = Brake("stub", Log(self.lines.append, format=Format.JSON), self.released.set)

    @property
    def delays_ms(self) -> list[int]:
        return [json.loads(line)["ms"] for line in self.lines]

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.brake.failed(refuses=True)

    async def release(self) -> None:
        await asyncio.wait_for(self.released.wait(), PATIENCE_S)
        self.released.clear()


async def test_two_failures_are_for_free() -> None:
    braked = Braked()
    braked.fail(2)
    assert (braked.brake.is_on, braked.brake.remaining_s, braked.lines) == (False, 0.0, [])


async def test_after_that_each_start_waits_twice_as_long_and_the_log_says_so() -> None:
    braked = Braked()
    braked.fail(3)
    assert braked.brake.is_on
    assert 0 < braked.brake.remaining_s <= 0.2
    [entry] = map(json.loads, braked.lines)
    assert (entry["event"], entry["level"], entry["function"]) == ("boot_delay", "warning", "stub")
    assert entry["msg"] == "3 workers in a row have failed: the next is started in 0.2 s at the earliest"
    await braked.release()
    assert not braked.brake.is_on
    braked.fail(1)
    assert braked.delays_ms == [200, 400]
    braked.brake.reset()


async def test_failures_while_it_is_on_make_the_next_delay_longer_and_not_this_one() -> None:
    braked = Braked()
    braked.fail(5)
    assert braked.delays_ms == [200]
    await braked.release()
    braked.fail(1)
    assert braked.delays_ms == [200, 1600]
    braked.brake.reset()


async def test_a_success_forgets_the_failures_and_lets_a_delay_run_out() -> None:
    braked = Braked()
    braked.fail(2)
    braked.brake.succeeded()
    braked.fail(2)
    assert not braked.brake.is_on
    braked.fail(1)
    braked.brake.succeeded()
    assert braked.brake.is_on
    await braked.release()
    braked.fail(2)
    assert not braked.brake.is_on


async def test_a_reset_ends_it_at_once_and_releases_nothing() -> None:
    braked = Braked()
    braked.fail(3)
    braked.brake.reset()
    assert (braked.brake.is_on, braked.brake.remaining_s) == (False, 0.0)
    braked.fail(2)
    assert not braked.brake.is_on
    assert not braked.released.is_set()


async def test_requests_are_refused_if_the_last_failure_came_before_any() -> None:
    braked = Braked()
    braked.brake.failed(refuses=True)
    assert braked.brake.refuses
    braked.brake.failed(refuses=False)
    assert not braked.brake.refuses
