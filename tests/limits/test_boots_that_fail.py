"""A function that does not come up: who waits is told so in time, and it is not tried again without end."""

import asyncio
from pathlib import Path

import httpx
from tests.behaviour.served import ENTRYPOINTS, Served
from tests.limits.limited import SOURCES, next_is_served, worker_of

HANGS = {"boot_timeout_ms": 600}
FUNCTIONS = {
    "awaits-for-ever": HANGS,
    "computes-for-ever": HANGS,
    "fills-memory": {"memory_mb": 128},
    "throws-always": {},
    "throws-at-first": {},
    "ends-young": {},
}
SOURCE = "booting"
EVERY = "[scale]\nstandby = 0"
DELAYS_MS = [200, 400, 800]


def is_boot_error(response: httpx.Response) -> None:
    assert (response.status_code, response.headers["sb-error-code"]) == (503, "BOOT_ERROR"), response.text
    assert response.json() == {"code": "BOOT_ERROR", "message": "Worker failed to boot (please check logs)"}


def entrypoint(site: Served, language: str, function: str) -> Path:
    return site.node.project / "supabase/functions" / function / ENTRYPOINTS[language]


async def hangs(site: Served, function: str) -> None:
    both = await asyncio.gather(site.call(function), site.call(function))
    for response in both:
        is_boot_error(response)
    failure = await site.node.wait_for("boot_failure", function=function)
    assert "did not start serving within 600 ms; to give it longer:" in failure["msg"]
    assert "boot_timeout_ms in outlast.toml" in failure["msg"]
    assert failure["ms"] >= 600
    end = await site.node.wait_for("shutdown", execution_id=failure["execution_id"])
    assert end["reason"] == "boot_failure"
    assert site.node.found("boot", function=function) == []


async def test_a_top_level_that_waits_for_ever(site: Served) -> None:
    await hangs(site, "awaits-for-ever")


async def test_a_top_level_that_computes_for_ever(site: Served) -> None:
    """The limits of CPU time begin when it is ready: this is no matter of theirs."""
    await hangs(site, "computes-for-ever")


async def test_a_top_level_that_fills_the_memory(site: Served) -> None:
    is_boot_error(await site.call("fills-memory"))
    failure = await site.node.wait_for("boot_failure", function="fills-memory")
    end = await site.node.wait_for("shutdown", execution_id=failure["execution_id"])
    assert (end["level"], end["reason"], end["limit"]) == ("error", "memory", 128)
    assert end["used"] >= 128
    words = f"the worker reached its memory limit: {end['used']} MiB used, 128 MiB allowed"
    assert failure["msg"] == f"before it served anything, {words}"
    assert end["msg"] == f"{words}. To raise it: [functions.fills-memory.limits] memory_mb in outlast.toml"


async def test_a_function_that_always_fails_is_tried_ever_more_rarely(site: Served) -> None:
    """However often it is asked for."""
    refused = 0
    while len(delays := site.node.found("boot_delay", function="throws-always")) < len(DELAYS_MS):
        response = await site.call("throws-always")
        is_boot_error(response)
        if "retry-after" in response.headers:
            assert int(response.headers["retry-after"]) >= 1
            refused += 1
    assert [delay["ms"] for delay in delays] == DELAYS_MS
    assert [delay["level"] for delay in delays] == ["warning"] * len(DELAYS_MS)
    assert "3 workers in a row have failed: the next is started in 0.2 s at the earliest" in delays[0]["msg"]
    assert refused > 0
    failures = site.node.found("boot_failure", function="throws-always")
    # The first two are for free; after each of the others there was a delay.
    assert len(failures) == 2 + len(DELAYS_MS)
    assert "not today" in failures[0]["msg"]


async def test_a_function_that_is_mended_is_served(site: Served, language: str) -> None:
    file = entrypoint(site, language, "throws-at-first")
    while not site.node.found("boot_delay", function="throws-at-first"):
        is_boot_error(await site.call("throws-at-first"))
    file.write_text((SOURCES / "limited" / file.name).read_text())
    async with asyncio.timeout(20):
        while (response := await site.call("throws-at-first")).status_code != 200:
            is_boot_error(response)
    assert response.text == "ok"


async def test_a_function_that_keeps_ending_itself(site: Served) -> None:
    """What waits is served by the next worker, which takes its time to come; and one that lasts ends the matter."""
    for _ in range(3):
        response = await site.call("ends-young/exit")
        assert (response.status_code, response.json()["code"]) == (500, "WORKER_ERROR")
    delay = await site.node.wait_for("boot_delay", function="ends-young")
    assert delay["ms"] == DELAYS_MS[0]
    await next_is_served(site, "ends-young", after=worker_of(response))
    await site.node.wait_for("boot", function="ends-young", count=4)
    assert len(site.node.found("boot", function="ends-young")) == 4
    assert site.node.found("boot_failure", function="ends-young") == []
