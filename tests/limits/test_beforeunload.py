"""Before its end a worker is told, once for each reason, while there is time left to do something about it."""

from tests.behaviour.served import Served
from tests.limits.limited import life_of, next_is_served, told, worker_of

NO_CPU = {"cpu_soft_ms": 0, "cpu_hard_ms": 0}
FUNCTIONS = {
    "wall": {"wall_clock_ms": 2000, **NO_CPU},
    "cpu": {"cpu_hard_ms": 1000},
    "memory": {"memory_mb": 128, **NO_CPU},
    "idle": {"idle_timeout_ms": 200},
    "hasty": {"idle_timeout_ms": 200, "unload_grace_ms": 500},
    "changed": {},
}
EVERY = "[scale]\nstandby = 0"


async def test_wall_clock(site: Served) -> None:
    """In Python, in the middle of code that the event loop waits for."""
    response = await site.call("wall/until-told")
    assert response.text == "told wall_clock"
    worker = worker_of(response)
    await next_is_served(site, "wall", after=worker)
    assert await life_of(site, worker) == [
        ("boot", ""),
        ("retire", "wall_clock"),
        ("beforeunload", "wall_clock"),
        ("beforeunload", "early_drop"),
        ("shutdown", "early_drop"),
    ]
    assert told(site, worker) == ["wall_clock", "early_drop"]


async def test_cpu(site: Served) -> None:
    response = await site.call("cpu/computes-until-told")
    assert response.text == "told cpu"
    worker = worker_of(response)
    await next_is_served(site, "cpu", after=worker)
    assert await life_of(site, worker) == [
        ("boot", ""),
        ("retire", "cpu"),
        ("beforeunload", "cpu"),
        ("beforeunload", "early_drop"),
        ("shutdown", "early_drop"),
    ]
    assert told(site, worker) == ["cpu", "early_drop"]


async def test_memory(site: Served) -> None:
    response = await site.call("memory/fills-until-told")
    assert response.text == "told memory"
    worker = worker_of(response)
    await next_is_served(site, "memory", after=worker)
    assert await life_of(site, worker) == [
        ("boot", ""),
        ("retire", "memory"),
        ("beforeunload", "memory"),
        ("beforeunload", "early_drop"),
        ("shutdown", "early_drop"),
    ]
    assert told(site, worker) == ["memory", "early_drop"]


async def test_early_drop(site: Served) -> None:
    worker = worker_of(await site.call("idle"))
    assert await life_of(site, worker) == [
        ("boot", ""),
        ("retire", "early_drop"),
        ("beforeunload", "early_drop"),
        ("shutdown", "early_drop"),
    ]
    assert told(site, worker) == ["early_drop"]
    await next_is_served(site, "idle", after=worker)


async def test_termination(site: Served, work: str) -> None:
    response = await site.call("changed/task", params={"work": work})
    worker = worker_of(response)
    arrival = await site.gate.arrival(work)
    for file in (site.node.project / "supabase/functions/changed").glob("[im]*.*"):
        file.write_text(file.read_text() + "\n")
    await site.node.wait_for("beforeunload", execution_id=worker)
    await next_is_served(site, "changed", after=worker)
    assert not site.node.found("shutdown", execution_id=worker)
    arrival.let_go()
    assert await life_of(site, worker) == [
        ("boot", ""),
        ("retire", "reload"),
        ("beforeunload", "termination"),
        ("shutdown", "reload"),
    ]
    assert told(site, worker) == ["termination"]


async def test_work_that_a_listener_starts_when_a_limit_is_near_has_the_rest_of_it(site: Served, work: str) -> None:
    response = await site.call("memory/fills-until-told", params={"work": work})
    assert response.text == "told memory"
    worker = worker_of(response)
    arrival = await site.gate.arrival(f"{work}-memory")
    await next_is_served(site, "memory", after=worker)
    assert site.node.found("shutdown", execution_id=worker) == []
    arrival.let_go()
    task = await site.node.wait_for("task", name=f"{work}-memory")
    assert (task["outcome"], task["execution_id"]) == ("fulfilled", worker)
    assert (await life_of(site, worker))[-1] == ("shutdown", "early_drop")


async def test_work_that_a_listener_starts_at_the_end_has_its_grace(site: Served, work: str) -> None:
    worker = worker_of(await site.call("idle/saves", params={"work": work}))
    arrival = await site.gate.arrival(f"{work}-early_drop")
    await next_is_served(site, "idle", after=worker)
    assert site.node.found("shutdown", execution_id=worker) == []
    arrival.let_go()
    task = await site.node.wait_for("task", name=f"{work}-early_drop")
    assert (task["outcome"], task["execution_id"]) == ("fulfilled", worker)
    assert told(site, worker) == ["early_drop"]


async def test_work_that_a_listener_starts_at_the_end_has_no_more_than_its_grace(site: Served, work: str) -> None:
    worker = worker_of(await site.call("hasty/saves", params={"work": work}))
    arrival = await site.gate.arrival(f"{work}-early_drop")
    await arrival.gone()
    task = await site.node.wait_for("task", name=f"{work}-early_drop")
    assert (task["outcome"], task["reason"], task["execution_id"]) == ("interrupted", "early_drop", worker)
    assert (await life_of(site, worker))[-1] == ("shutdown", "early_drop")
