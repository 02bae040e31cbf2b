"""How a node ends: what it has is finished in time, what is cut off is named, nothing is left behind."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.supervisor.site import Site, connected, function, site, texts, worker_of
from tests.support.node import serving, write_project

from outlast.supervisor.rundir import PREFIX

REQUESTS = 200
TASKS = 50
BUSY = """
Deno.serve(() => {
  setTimeout(() => { console.log("busy"); for (;;); })
  return new Response()
})
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder for one node alone. The paths of sockets are short, so pytest's own will not do."""
    with tempfile.TemporaryDirectory(prefix="outlast-test-") as folder:
        yield Path(folder)


def node_folders(temporary: Path) -> set[Path]:
    return {*temporary.glob(f"{PREFIX}*")}


def processes_below(pid: int) -> set[int]:
    """It and its descendants, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def process_of(served: Site, worker: str) -> int:
    [found] = [
        pid
        for pid in processes_below(served.node.process.pid)
        if f"SB_EXECUTION_ID={worker}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    ]
    return found


async def death(pid: int) -> None:
    """Waits for the end of a process that is not a child of this one."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def runs(pid: int) -> bool:
    """A zombie does not run: who has to reap it is not ours to say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def ended(served: Site) -> int:
    """The exit code of a node that has been told to end."""
    await asyncio.wait_for(served.node.process.wait(), 30)
    return await served.node.stop()


async def refused(served: Site) -> None:
    """Waits until the node accepts no connection any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection(*served.node.address)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # It came just as the node stopped to listen.
            continue
        writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_requests_and_tasks_are_finished(tmp_path: Path, number: int) -> None:
    scale = f"[scale]\nmax_workers = 1\nconcurrency = {REQUESTS}\n"
    async with site(tmp_path, {"slow": function("done")}, "--graceful-exit-timeout=60", outlast=scale) as served:
        names = [f"request-{n}" for n in range(REQUESTS)]
        tasks = [f"task-{n}" for n in range(TASKS)]
        started = [served.get(f"slow?task={task}") for task in tasks]
        assert texts(await asyncio.gather(*started)) == {(200, "done")}
        calls = [asyncio.create_task(served.get(f"slow?wait={name}")) for name in names]
        await served.held(*names, *tasks)

        served.node.process.send_signal(number)
        await served.node.wait_for("log", msg="beforeunload: termination")
        await refused(served)
        assert not any(call.done() for call in calls)
        [stopping] = served.node.found("stopping")
        assert f"requests ({REQUESTS}) and background tasks ({TASKS}), at most 60 s" in stopping["msg"]
        served.let_go(*names)
        responses = await asyncio.gather(*calls)
        assert texts(responses) == {(200, "done")}
        assert not served.node.found("shutdown")
        served.let_go(*tasks)
        assert await ended(served) == 0
        ends = served.node.found("task")
        assert len(ends) == TASKS
        assert {task["outcome"] for task in ends} == {"fulfilled"}
        assert [end["reason"] for end in served.node.found("shutdown")] == ["termination"]


async def test_a_request_that_waits_for_its_worker_to_boot_is_finished(tmp_path: Path) -> None:
    boots = function("done", top_level='await pass("boots")')
    async with site(tmp_path, {"boots": boots}) as served:
        call = asyncio.create_task(served.get("boots"))
        await served.held("boots")
        served.node.process.send_signal(signal.SIGTERM)
        await refused(served)
        served.let_go("boots")
        assert (await call).text == "done"
        assert await ended(served) == 0


async def test_what_the_grace_is_too_short_for_is_cut_off_and_named(tmp_path: Path) -> None:
    async with site(tmp_path, {"slow": function("done")}, "--graceful-exit-timeout=0.5") as served:
        first = await served.get("slow?task=endless")
        call = asyncio.create_task(served.get("slow?wait=endless-request"))
        await served.held("endless", "endless-request")
        assert await served.node.stop() == 0
        response = await call
        assert response.status_code == 500
        assert response.json()["code"] == "WORKER_ERROR"
        [request] = served.node.found("request", status=500)
        assert request["msg"] == "the server shut down before its answer was complete"
        task = served.node.found("task")[0]
        assert (task["name"], task["outcome"], task["reason"]) == ("endless", "interrupted", "termination")
        assert task["level"] == "warning"
        assert task["request_id"] == first.headers["sb-request-id"]
        assert task["ms"] >= 500
        assert "--graceful-exit-timeout" in task["msg"]


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, temporary: Path) -> None:
    slow = {"slow": function("done")}
    async with site(tmp_path, slow, "--graceful-exit-timeout=600", env={"TMPDIR": str(temporary)}) as served:
        assert node_folders(temporary)
        await served.get("slow?task=endless")
        await served.held("endless")
        served.node.process.send_signal(signal.SIGTERM)
        await served.node.wait_for("log", msg="beforeunload: termination")
        assert await served.node.stop(signal.SIGINT) == 128 + signal.SIGINT
        task = served.node.found("task")[0]
        assert (task["name"], task["outcome"], task["reason"]) == ("endless", "interrupted", "termination")
    assert not node_folders(temporary)


async def test_a_terminal_that_is_closed_asks_however_often_it_is_told_of(tmp_path: Path) -> None:
    async with site(tmp_path, {"slow": function("done")}, "--graceful-exit-timeout=600") as served:
        await served.get("slow?task=needed")
        await served.held("needed")
        served.node.process.send_signal(signal.SIGHUP)
        await served.node.wait_for("log", msg="beforeunload: termination")
        served.node.process.send_signal(signal.SIGHUP)
        await refused(served)
        served.let_go("needed")
        assert await ended(served) == 0
        assert served.node.found("task")[0]["outcome"] == "fulfilled"


async def test_a_terminal_that_is_closed_ends_nothing_that_does_without(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": function("done")})
    async with serving(project, launcher=("nohup",)) as node, connected(node) as client:
        node.process.send_signal(signal.SIGHUP)
        assert (await client.get("/hello")).text == "done"


async def test_a_worker_that_never_yields_does_not_keep_the_node(tmp_path: Path) -> None:
    async with site(tmp_path, {"busy": BUSY}, "--graceful-exit-timeout=0.5") as served:
        await served.get("busy")
        await served.node.wait_for("log", msg="busy")
        below = processes_below(served.node.process.pid)
        assert await served.node.stop() == 0
        assert not any(runs(pid) for pid in below)


async def test_an_idle_connection_does_not_keep_the_node(tmp_path: Path) -> None:
    async with site(tmp_path, {"slow": function("done")}) as served:
        async with httpx.AsyncClient(base_url=served.node.url) as client:
            assert (await client.get("/slow")).text == "done"
            assert await served.node.stop() == 0
        assert served.node.found("shutdown")
        assert not served.node.found("stopping")


async def test_an_answer_that_a_slow_client_is_still_reading_is_sent_to_its_end(tmp_path: Path) -> None:
    size = 8_000_000
    large = f"Deno.serve(() => new Response('x'.repeat({size})))"
    async with site(tmp_path, {"large": large}, "--graceful-exit-timeout=60") as served:
        # A small window, so that most of the answer stays behind.
        reader, writer = await asyncio.open_connection(*served.node.address, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        served.node.process.send_signal(signal.SIGTERM)
        await refused(served)
        assert len(await reader.readexactly(size)) == size
        assert await ended(served) == 0
        writer.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
async def test_a_node_that_is_killed_leaves_no_process_and_its_folder_to_the_next(
    tmp_path: Path, temporary: Path
) -> None:
    functions = {"calm": function("calm"), "busy": BUSY}
    env = {"TMPDIR": str(temporary)}
    async with site(tmp_path, functions, env=env) as served:
        await served.get("calm?task=open")
        await served.held("open")
        await served.get("busy")
        await served.node.wait_for("log", msg="busy")
        below = processes_below(served.node.process.pid)
        assert len(below) >= 4, "node, spawner, two workers"
        watching = [asyncio.ensure_future(death(pid)) for pid in below - {served.node.process.pid}]
        left = node_folders(temporary)
        assert left

        os.kill(served.node.process.pid, signal.SIGKILL)
        await served.node.process.wait()
        for watched in watching:
            await asyncio.wait_for(watched, 10)
        assert left <= node_folders(temporary)
    async with site(tmp_path, functions, env=env) as served:
        assert not left & node_folders(temporary)
        async with connected(served.node) as client:
            assert (await client.get("/calm")).text == "calm"


async def test_a_function_that_never_comes_up_is_ended_and_says_what_to_set(tmp_path: Path) -> None:
    hangs = 'await new Promise(() => setInterval(() => {}, 1000)); Deno.serve(() => new Response(""))'
    limits = "[limits]\nboot_timeout_ms = 1000\n"
    async with site(tmp_path, {"hangs": hangs}, outlast=limits) as served:
        response = await served.get("hangs")
        assert (response.status_code, response.json()["code"]) == (503, "BOOT_ERROR")
        failure = await served.node.wait_for("boot_failure", function="hangs")
        assert "boot_timeout_ms" in failure["msg"]
        assert "1000 ms" in failure["msg"]
        await served.node.wait_for("shutdown", function="hangs", reason="boot_failure")


async def test_a_worker_that_dies_fails_its_own_request_and_the_next_has_another(tmp_path: Path) -> None:
    async with site(tmp_path, {"slow": function("done")}) as served:
        response = await served.get("slow")
        call = asyncio.create_task(served.get("slow?wait=in-its-hands"))
        await served.held("in-its-hands")
        worker = worker_of(response)
        os.kill(process_of(served, worker), signal.SIGKILL)
        lost = await call
        assert (lost.status_code, lost.json()["code"]) == (500, "WORKER_ERROR")
        again = await served.get("slow")
        assert again.text == "done"
        assert worker_of(again) != worker
        assert (await served.node.wait_for("shutdown", execution_id=worker))["reason"] == "crash"
