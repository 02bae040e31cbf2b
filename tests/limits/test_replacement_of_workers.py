"""A busy function changes its workers before they come to their limits, and its callers do not notice."""

import asyncio

import httpx
from tests.behaviour.served import Served
from tests.limits.limited import life_of, told, worker_of

FUNCTIONS = {
    "steady": {"wall_clock_ms": 1500, "cpu_soft_ms": 0, "cpu_hard_ms": 0},
    "computing": {"cpu_soft_ms": 100, "cpu_hard_ms": 10_000},
}
EVERY = "[scale]\nmax_workers = 1"
REPLACEMENTS = 3


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
