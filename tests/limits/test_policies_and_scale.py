"""What the limits mean under each policy, and how far a function grows."""

import asyncio
from pathlib import Path

import httpx
from tests.behaviour.gate import Arrival
from tests.behaviour.served import Served
from tests.limits.limited import is_limit_answer, life_of, next_is_served, serving_limited, worker_of

FUNCTIONS = {
    "small": {},
    "idle": {"idle_timeout_ms": 200},
    "other": {"cpu_hard_ms": 100, "wall_clock_ms": 0, "memory_mb": 0},
    "unlimited": {"cpu_soft_ms": 0, "cpu_hard_ms": 0},
}
EVERY = """
[limits]
cpu_hard_ms = 100
[functions.small.scale]
max_workers = 2
concurrency = 2
max_backlog = 1
[functions.idle.scale]
standby = 2
"""


async def test_concurrency_then_more_workers_then_a_backlog_then_no_more(site: Served, work: str) -> None:
    async def call(number: int) -> asyncio.Task[httpx.Response]:
        calling = asyncio.create_task(site.call("small/waits", params={"work": f"{work}-{number}"}))
        arrivals.append(await site.gate.arrival(f"{work}-{number}"))
        return calling

    arrivals: list[Arrival] = []
    calls = [await call(number) for number in range(4)]
    # Of two more, whichever comes first waits.
    late = [asyncio.create_task(site.call("small/waits", params={"work": f"{work}-late"})) for _ in range(2)]
    (first,), (second,) = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
    refused = first.result()
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_BUSY")
    assert refused.headers["sb-error-code"] == "WORKER_BUSY"
    assert int(refused.headers["retry-after"]) >= 1
    assert not site.gate.has_come(f"{work}-late")

    arrivals[0].let_go()
    (await site.gate.arrival(f"{work}-late")).let_go("late")
    for arrival in arrivals[1:]:
        arrival.let_go()
    workers = [worker_of(response) for response in await asyncio.gather(*calls)]
    assert workers[0] == workers[1] != workers[2] == workers[3]
    served = await second
    assert (served.text, worker_of(served)) == ("late", workers[0])
    assert {*workers} == {boot["execution_id"] for boot in site.node.found("boot", function="small")}


async def test_a_worker_that_is_idle_for_too_long_ends_and_its_standby_wakes_nobody(site: Served) -> None:
    response = await site.call("idle")
    assert (await life_of(site, worker_of(response)))[1:] == [
        ("retire", "early_drop"),
        ("beforeunload", "early_drop"),
        ("shutdown", "early_drop"),
    ]
    # One that came up in its place would come to the same end.
    assert len(site.node.found("boot", function="idle")) == 1
    await next_is_served(site, "idle", after=worker_of(response))


async def test_a_function_has_limits_of_its_own(site: Served) -> None:
    """And 0 is none."""
    limited = await site.call("other/computes")
    is_limit_answer(limited, "cpu", 100)
    free = await site.call("unlimited/computes-a-while")
    assert free.text == "ok"
    assert site.node.found("retire", execution_id=worker_of(free)) == []


async def test_per_request_the_wall_clock_starts_anew_with_each(tmp_path: Path, language: str, work: str) -> None:
    limits = {"wall_clock_ms": 1000, "cpu_soft_ms": 0, "cpu_hard_ms": 0}
    async with serving_limited(tmp_path, language, {"anew": limits}, arguments=["--policy=per_request"]) as site:
        loop = asyncio.get_running_loop()
        first = await site.call("anew")
        until = loop.time() + 1.1
        while loop.time() < until:
            response = await site.call("anew")
            assert response.status_code == 200
            assert worker_of(response) == worker_of(first)
        assert site.node.found("retire") == []

        waiting = asyncio.create_task(site.call("anew/waits", params={"work": work}))
        await site.gate.arrival(work)
        others = asyncio.create_task(site.call("anew"))
        killed = await waiting
        is_limit_answer(killed, "wall_clock", 1000)
        assert worker_of(killed) == worker_of(first)
        assert worker_of(await others) != worker_of(first)
        assert (await others).text == "ok"


async def test_oneshot_has_the_same_limits(tmp_path: Path, language: str, work: str) -> None:
    functions = {"waiting": {"wall_clock_ms": 500}, "computing": {"cpu_hard_ms": 200}}
    async with serving_limited(tmp_path, language, functions, arguments=["--policy=oneshot"]) as site:
        waits = asyncio.create_task(site.call("waiting/waits", params={"work": work}))
        computes = await site.call("computing/computes")
        is_limit_answer(computes, "cpu", 200)
        is_limit_answer(await waits, "wall_clock", 500)
        for function, response in (("computing", computes), ("waiting", await waits)):
            await next_is_served(site, function, after=worker_of(response))
