"""The limits where a worker has one request at a time, or one in its life."""

import asyncio
from pathlib import Path

from tests.limits.limited import is_limit_answer, next_is_served, serving_limited, worker_of


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
