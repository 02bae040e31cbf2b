"""How far a function grows, and how a busy one changes its workers without its callers noticing."""

import asyncio

import httpx
from tests.behaviour.gate import Arrival
from tests.behaviour.served import Served
from tests.limits.limited import is_limit_answer, life_of, next_is_served, told, worker_of

NO_CPU = {"cpu_soft_ms": 0, "cpu_hard_ms": 0}
FUNCTIONS = {
    "small": NO_CPU,
    "idle": {"idle_timeout_ms": 200, **NO_CPU},
    "inherits": {"wall_clock_ms": 0, "memory_mb": 0},
    "unlimited": NO_CPU,
    "steady": {"wall_clock_ms": 1500, **NO_CPU},
    "computing": {"cpu_soft_ms": 100, "cpu_hard_ms": 10_000},
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
[functions.steady.scale]
max_workers = 1
[functions.computing.scale]
max_workers = 1
"""
REPLACEMENTS = 3


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
    await site.node.wait_for("boot", function="small", count=2)
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
    limited = await site.call("inherits/computes")
    is_limit_answer(limited, "cpu", 100)
    free = await site.call("unlimited/computes-a-while")
    assert free.text == "ok"
    assert site.node.found("retire", execution_id=worker_of(free)) == []


async def served_through(site: Served, path: str) -> list[httpx.Response]:
    """Calls one after the other, until so many workers have been replaced."""
    function = path.split("/")[0]
    responses = []
    while len(site.node.found("retire", function=function)) < REPLACEMENTS:
        responses.append(await site.call(path))
    return responses


def changed_hands_in_time(site: Served, function: str, reason: str) -> list[str]:
    """The workers, each ready before its predecessor took no more requests."""
    life = [entry for entry in site.node.found(function=function) if entry["event"] in ("boot", "retire")]
    workers = [entry["execution_id"] for entry in life if entry["event"] == "boot"]
    order = [(entry["event"], workers.index(entry["execution_id"]), entry.get("reason")) for entry in life]
    expected = [("boot", 0, None)]
    for number in range(REPLACEMENTS):
        expected += [("boot", number + 1, None), ("retire", number, reason)]
    assert order[: len(expected)] == expected
    return workers


async def test_every_request_is_served_across_many_wall_clocks(site: Served, work: str) -> None:
    holding = asyncio.create_task(site.call("steady/waits", params={"work": work}))
    arrival = await site.gate.arrival(work)
    serving = asyncio.create_task(served_through(site, "steady"))
    retired = await site.node.wait_for("retire", function="steady")
    # What it has goes on, although it gets nothing new.
    new = await site.call("steady")
    assert worker_of(new) != retired["execution_id"]
    arrival.let_go("held")
    held = await holding
    assert (held.status_code, held.text, worker_of(held)) == (200, "held", retired["execution_id"])
    responses = await serving
    assert {(response.status_code, response.text) for response in responses} == {(200, "ok")}
    workers = changed_hands_in_time(site, "steady", "wall_clock")
    assert {worker_of(response) for response in responses} >= {*workers[:REPLACEMENTS]}
    for worker in workers[:REPLACEMENTS]:
        assert (await life_of(site, worker))[1:] == [
            ("retire", "wall_clock"),
            ("beforeunload", "early_drop"),
            ("shutdown", "early_drop"),
        ]
        assert told(site, worker) == ["early_drop"]


async def test_every_request_is_served_across_many_cpu_limits(site: Served) -> None:
    responses = await served_through(site, "computing/computes-a-little")
    assert {(response.status_code, response.text) for response in responses} == {(200, "ok")}
    workers = changed_hands_in_time(site, "computing", "cpu")
    for worker in workers[:REPLACEMENTS]:
        assert (await life_of(site, worker))[-2:] == [("beforeunload", "early_drop"), ("shutdown", "early_drop")]
