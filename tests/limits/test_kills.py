"""At its limit a worker is ended: who waited for it is told why, what it had open is named, and the next one serves."""

import asyncio

import pytest
from tests.behaviour.served import PYTHON_ONLY, TYPESCRIPT_ONLY, Served
from tests.limits.limited import Hostages, is_limit_answer, next_is_served, shutdown_by_limit, told, worker_of

WALL_CLOCK_MS = 1500
NO_CPU = {"cpu_soft_ms": 0, "cpu_hard_ms": 0}
MEMORY = {"memory_mb": 128, **NO_CPU}
FUNCTIONS = {
    "wall": {"wall_clock_ms": WALL_CLOCK_MS, **NO_CPU},
    "cpu": {"cpu_hard_ms": 500},
    "task": {"cpu_hard_ms": 500},
    "at-once": MEMORY,
    **dict.fromkeys(("heap", "typed-arrays", "buffers", "wasm", "bytes", "mmap", "child"), MEMORY),
}
EVERY = "[scale]\nmax_workers = 1\nstandby = 0"


async def test_wall_clock(site: Served, work: str) -> None:
    """What was started when it was near is cut off like everything else."""
    async with Hostages(site, "wall", work) as hostages:
        await site.call("wall/saves", params={"work": f"{work}-saved"})
        response = await site.call("wall/waits", params={"work": work})
        assert worker_of(response) == hostages.worker
        is_limit_answer(response, "wall_clock", WALL_CLOCK_MS)
        await hostages.are_cut_off("wall_clock")
    saving = await site.node.wait_for("task", name=f"{work}-saved-wall_clock")
    assert (saving["outcome"], saving["reason"]) == ("interrupted", "wall_clock")
    end = await shutdown_by_limit(site, hostages.worker, "wall", "wall_clock", "wall_clock_ms", WALL_CLOCK_MS)
    assert end["used"] == response.json()["used"]
    assert told(site, hostages.worker) == ["wall_clock"]
    await next_is_served(site, "wall", after=hostages.worker)


async def test_cpu(site: Served, work: str, language: str) -> None:
    async with Hostages(site, "cpu", work) as hostages:
        waiting = asyncio.create_task(site.call("cpu/waits", params={"work": work}))
        await site.gate.arrival(work)
        responses = [await site.call("cpu/computes"), await waiting]
        for response in responses:
            assert worker_of(response) == hostages.worker
            is_limit_answer(response, "cpu", 500)
        await hostages.are_cut_off("cpu")
    end = await shutdown_by_limit(site, hostages.worker, "cpu", "cpu", "cpu_hard_ms", 500)
    assert {response.json()["used"] for response in responses} == {end["used"]}
    assert end["cpu_ms"] >= 500
    # What never yields cannot hear it in TypeScript.
    assert told(site, hostages.worker) == (["cpu"] if language == "python" else [])
    await next_is_served(site, "cpu", after=hostages.worker)


async def memory(site: Served, work: str, kind: str) -> None:
    async with Hostages(site, kind, work) as hostages:
        response = await site.call(f"{kind}/fills-{kind}")
        assert worker_of(response) == hostages.worker
        is_limit_answer(response, "memory", 128)
        await hostages.are_cut_off("memory")
    end = await shutdown_by_limit(site, hostages.worker, kind, "memory", "memory_mb", 128)
    assert end["used"] == response.json()["used"]
    await next_is_served(site, kind, after=hostages.worker)


@TYPESCRIPT_ONLY
@pytest.mark.parametrize("kind", ["heap", "typed-arrays", "buffers", "wasm"])
async def test_memory_in_typescript(site: Served, work: str, kind: str) -> None:
    await memory(site, work, kind)


@PYTHON_ONLY
@pytest.mark.parametrize("kind", ["bytes", "mmap", "child"])
async def test_memory_in_python(site: Served, work: str, kind: str) -> None:
    """What a process holds counts that it has started."""
    await memory(site, work, kind)


@TYPESCRIPT_ONLY
async def test_a_heap_that_is_full_is_a_limit_and_no_crash(site: Served, work: str) -> None:
    async with Hostages(site, "at-once", work) as hostages:
        response = await site.call("at-once/fills-at-once")
        assert (response.status_code, response.headers["sb-error-code"]) == (546, "WORKER_LIMIT")
        body = response.json()
        assert (body["reason"], body["limit"], body["execution_id"]) == ("memory", 128, hostages.worker)
        await hostages.are_cut_off("memory")
    end = await shutdown_by_limit(site, hostages.worker, "at-once", "memory", "memory_mb", 128)
    assert end["used"] == body["used"]
    await next_is_served(site, "at-once", after=hostages.worker)


@PYTHON_ONLY
async def test_a_memory_error_costs_the_worker_its_place_and_no_other_request(site: Served, work: str) -> None:
    async with Hostages(site, "at-once", work) as hostages:
        response = await site.call("at-once/fills-at-once")
        assert (response.status_code, response.headers["sb-error-code"]) == (500, "HANDLER_ERROR")
        error = await site.node.wait_for("uncaught", execution_id=hostages.worker)
        assert error["msg"].endswith("MemoryError")
        assert error["request_id"] == response.headers["sb-request-id"]
        assert (await site.node.wait_for("retire", execution_id=hostages.worker))["reason"] == "uncaught"
        await next_is_served(site, "at-once", after=hostages.worker)
        await hostages.are_free()
    end = await site.node.wait_for("shutdown", execution_id=hostages.worker)
    assert end["reason"] == "uncaught"


async def test_a_task_that_computes_is_its_workers_end_too(site: Served, work: str) -> None:
    response = await site.call("task/computes-in-task", params={"work": work})
    assert response.status_code == 200
    task = await site.node.wait_for("task", name=work)
    assert (task["outcome"], task["reason"]) == ("interrupted", "cpu")
    assert task["request_id"] == response.headers["sb-request-id"]
    await shutdown_by_limit(site, worker_of(response), "task", "cpu", "cpu_hard_ms", 500)
    await next_is_served(site, "task", after=worker_of(response))


async def test_every_task_is_known_of_a_worker_that_has_only_begun_them(site: Served, work: str) -> None:
    """What a single turn of its event loop has started, which was its last."""
    response = await site.call("task/leaves-many-and-computes", params={"work": work})
    is_limit_answer(response, "cpu", 500)
    await shutdown_by_limit(site, worker_of(response), "task", "cpu", "cpu_hard_ms", 500)
    tasks = site.node.found("task", execution_id=worker_of(response))
    assert [task["name"] for task in tasks] == [f"{work}-{number}" for number in range(2000)]
    assert {(task["outcome"], task["reason"]) for task in tasks} == {("interrupted", "cpu")}
    await next_is_served(site, "task", after=worker_of(response))
