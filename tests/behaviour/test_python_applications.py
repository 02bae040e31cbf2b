"""What is of Python alone: its frameworks and their background tasks, its forms, its calls that block."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.behaviour.served import Served, assemble, served

FUNCTIONS = ("orders", "welcome", "uploads", "stalling")
MAX_GROWTH = 32 << 20
MUCH = 8 * MAX_GROWTH


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(assemble(tmp_path_factory.mktemp("site"), "python", FUNCTIONS)) as site:
        # A registry may be slow, and a request waits no longer than for a worker.
        # Two functions share the packages, and whichever came first speaks of them.
        said = {"msg": lambda text: text.startswith("installed")}
        await site.node.wait_for("prepare", timeout=50, **said)
        yield site


@pytest.mark.timeout(120)
async def test_tasks_of_fastapi_outlast_the_response_and_its_connection(site: Served, work: str) -> None:
    one = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=f"{site.node.url}/functions/v1", limits=one, timeout=30) as client:
        options = {"params": {"work": work}, "json": {"item": "tea"}}
        response = await client.post("/orders/7", **options)
        assert response.status_code == 202
        assert response.json() == {"number": 7, "order": {"item": "tea", "count": 1}}
        arrival = await site.gate.arrival(work)
        # The connection is free for another request, which the application answers.
        assert (await client.post("/orders/none", **options)).status_code == 422
    mine = {"request_id": response.headers["sb-request-id"]}
    assert arrival.waits
    assert site.node.found("task", **mine) == []
    arrival.let_go()
    tasks = await site.finished(response, count=2)
    assert [(task["name"], task["outcome"]) for task in tasks] == [("confirm", "fulfilled"), ("bill", "fulfilled")]
    assert len(site.node.found("log", msg=f"{work} billed", **mine)) == 1


async def test_the_application_of_the_readme(site: Served) -> None:
    response = await site.call("welcome/ada@example.com", method="POST")
    assert (response.status_code, response.json()) == (202, {"accepted": "ada@example.com"})
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == ("send_welcome", "fulfilled")
    assert site.node.found("log", msg="welcome sent to ada@example.com")


async def test_a_failed_task_of_fastapi_is_an_error_once(site: Served, work: str) -> None:
    response = await site.call("orders/7/refused", method="POST", params={"work": work})
    assert response.json() == 7
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"], task["level"]) == ("refuse", "rejected", "error")
    assert f"LookupError: {work} is sold out" in task["stack"]
    again = await site.call("orders/0/unknown")
    assert again.headers["x-sb-execution-id"] == response.headers["x-sb-execution-id"]
    assert not site.node.found(function="orders", level="error", msg=lambda text: "sold out" in text)


async def test_a_worker_is_not_ended_between_a_response_and_its_tasks(tmp_path: Path) -> None:
    """This policy has it end as soon as nothing is left to do, and there is nothing but tasks of the framework."""
    project = assemble(tmp_path, "python", ("middleware",), outlast='oneshot_background = "wait"')
    async with served(project, "--policy=oneshot") as site:
        for number in range(10):
            response = await site.call("middleware", params={"work": f"work-{number}"})
            assert (response.text, response.headers["x-stamp"]) == ("ok", "1")
            (await site.gate.arrival(f"work-{number}")).let_go()
            tasks = await site.finished(response, count=2)
            assert [(task["name"], task["outcome"]) for task in tasks] == [
                ("first", "fulfilled"),
                ("second", "fulfilled"),
            ]


async def test_a_form_with_files(site: Served) -> None:
    # Larger than what is kept in memory: it goes through the function's temporary folder.
    photo = bytes(range(256)) * 12_000
    files = [("photo", ("Käse.png", photo, "image/png")), ("photo", ("empty.txt", b"", "text/plain"))]
    response = await site.call("uploads/form", method="POST", data={"title": "Grüße", "tags": "a b"}, files=files)
    assert response.json() == {
        "fields": {"title": "Grüße", "tags": "a b"},
        "files": [
            ["photo", "Käse.png", "image/png", hashlib.sha256(photo).hexdigest()],
            ["photo", "empty.txt", "text/plain", hashlib.sha256(b"").hexdigest()],
        ],
    }


@pytest.mark.timeout(240)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
async def test_a_large_upload_piles_up_nowhere(site: Served) -> None:
    piece = bytes(1 << 18)

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    async def upload(size: int) -> int:
        response = await site.call("uploads/count", method="POST", content=pieces(size), timeout=200)
        seen = response.json()
        assert seen["size"] == size
        return int(seen["grown_kib"]) << 10

    # What is taken once and for all is taken now.
    await upload(4 << 20)
    before = peak(site)
    assert await upload(MUCH) < MAX_GROWTH
    assert peak(site) - before < MAX_GROWTH


def peak(site: Served) -> int:
    """The most memory that the node has ever had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{site.node.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


async def test_a_call_that_blocks_in_a_task_is_named_and_gone_round(site: Served, work: str) -> None:
    response = await site.call("stalling", params={"work": work})
    arrival = await site.gate.arrival(work)
    waiting = asyncio.create_task(site.call("stalling", params={"work": f"{work}-next"}))
    warning = await site.node.wait_for("log", level="warning", function="stalling")
    assert "the event loop has been blocked for " in warning["msg"]
    assert " by stalls (main.py, line 10: urllib.request.urlopen(" in warning["msg"]
    assert "asyncio.to_thread" in warning["msg"]
    # A request that comes now goes round the worker that stands still.
    elsewhere = await site.call("stalling", params={"work": f"{work}-elsewhere"})
    assert elsewhere.status_code == 200
    assert elsewhere.headers["x-sb-execution-id"] != response.headers["x-sb-execution-id"]
    (await site.gate.arrival(f"{work}-elsewhere")).let_go()
    await site.finished(elsewhere)
    assert not waiting.done()
    arrival.let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == (work, "fulfilled")
    assert (await waiting).status_code == 200
    (await site.gate.arrival(f"{work}-next")).let_go()
    await site.finished(await waiting)


async def test_tasks_of_fastapi_keep_a_retired_worker_alive(site: Served, work: str) -> None:
    """The last test here: it changes a function."""
    response = await site.call("orders/7", method="POST", params={"work": work}, json={"item": "tea"})
    old = response.headers["x-sb-execution-id"]
    arrival = await site.gate.arrival(work)
    main = site.node.project / "supabase/functions/orders/main.py"
    main.write_text(main.read_text() + "\n# changed\n")
    await site.node.wait_for("retire", execution_id=old, reason="reload")
    new = await site.call("orders/8/refused", method="POST", params={"work": f"{work}-new"})
    assert new.headers["x-sb-execution-id"] != old
    assert arrival.waits
    assert site.node.found("shutdown", execution_id=old) == []
    arrival.let_go()
    tasks = await site.finished(response, count=2)
    assert {task["outcome"] for task in tasks} == {"fulfilled"}
    assert (await site.node.wait_for("shutdown", execution_id=old))["reason"] == "reload"
    (await site.gate.arrival(f"{work}-new")).let_go()
    await site.finished(new)
