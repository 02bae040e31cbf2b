"""Tasks start when the code starts them, nobody waits for them, and each one's end is on record."""

import asyncio

import pytest
from tests.behaviour.served import Served

FUNCTIONS = ("tasks", "top-level")
NAMED_BY_ITSELF = {"typescript": None, "python": "gate"}
"""A coroutine knows the function that it comes from, a promise does not."""


async def test_the_response_does_not_wait(site: Served, work: str) -> None:
    response = await site.call("tasks/in-handler", params={"work": work})
    assert response.status_code == 200
    arrival = await site.gate.arrival(work)
    assert site.node.found("task", name=work) == []
    arrival.let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"], task["level"]) == (work, "fulfilled", "info")
    assert task["execution_id"] == response.headers["x-sb-execution-id"]
    assert task["ms"] >= 0


async def test_a_task_of_the_top_level_belongs_to_no_request(site: Served) -> None:
    response = await site.call("top-level")
    assert response.text == "ok"
    arrival = await site.gate.arrival("warm-up")
    arrival.let_go()
    task = await site.node.wait_for("task", name="warm-up")
    assert task["outcome"] == "fulfilled"
    assert "request_id" not in task


async def test_without_a_name_it_has_an_id(site: Served, work: str, language: str) -> None:
    response = await site.call("tasks/without-name", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert task["execution_id"] == response.headers["x-sb-execution-id"]
    assert task.get("name") == NAMED_BY_ITSELF[language]


async def test_one_can_be_started_after_the_response(site: Served, work: str) -> None:
    response = await site.call("tasks/after-response", params={"work": work})
    (await site.gate.arrival(f"{work}-first")).let_go()
    started = await site.node.wait_for("log", msg=f"{work} started")
    assert started["request_id"] == response.headers["sb-request-id"]
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == (work, "fulfilled")


async def test_one_can_be_started_by_another(site: Served, work: str) -> None:
    response = await site.call("tasks/nested", params={"work": work})
    (await site.gate.arrival(f"{work}-outer")).let_go()
    outer = (await site.finished(response))[0]
    assert outer["name"] == f"{work}-outer"
    inner = await site.gate.arrival(f"{work}-inner")
    assert len(site.node.found("task", request_id=outer["request_id"])) == 1
    inner.let_go()
    tasks = await site.finished(response, count=2)
    assert [task["name"] for task in tasks] == [f"{work}-outer", f"{work}-inner"]


async def test_ten_thousand_at_once(site: Served, work: str) -> None:
    response = await site.call("tasks/ten-thousand", params={"work": work})
    arrival = await site.gate.arrival(work)
    assert site.node.found("task", name=work) == []
    arrival.let_go()
    tasks = await site.finished(response, count=10_000)
    assert {task["outcome"] for task in tasks} == {"fulfilled"}
    assert len({task["task_id"] for task in tasks}) == 10_000


async def test_the_same_work_twice_is_one_task(site: Served, work: str) -> None:
    response = await site.call("tasks/twice", params={"work": work})
    assert response.json() == [True, True]
    (await site.gate.arrival(work)).let_go()
    await site.finished(response)
    await _turn(site)
    assert len(site.node.found("task", name=work)) == 1


async def test_what_cannot_be_awaited_is_returned_with_one_warning(site: Served) -> None:
    since = site.now
    for _ in range(3):
        response = await site.call("tasks/not-awaitable", params={"work": ""})
        assert response.json() == 42
    await _turn(site)
    (warning,) = site.node.found("log", level="warning", function="tasks", since=since)
    assert "not a promise" in warning["msg"] or "not awaitable" in warning["msg"]
    assert "request_id" in warning


async def test_what_is_settled_already_counts(site: Served, work: str) -> None:
    response = await site.call("tasks/settled", params={"work": work})
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == (work, "fulfilled")


async def test_one_that_fails_is_an_error_and_touches_nothing_else(site: Served, work: str) -> None:
    other = await site.call("tasks/in-handler", params={"work": f"{work}-other"})
    arrival = await site.gate.arrival(f"{work}-other")
    response = await site.call("tasks/rejected", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"], task["level"]) == (work, "rejected", "error")
    assert f"{work} failed" in task["stack"]
    assert "failing" in task["stack"]
    later = await site.call("tasks/settled", params={"work": f"{work}-later"})
    assert later.headers["x-sb-execution-id"] == response.headers["x-sb-execution-id"]
    assert arrival.waits
    arrival.let_go()
    (task,) = await site.finished(other)
    assert task["outcome"] == "fulfilled"
    assert site.node.found("retire", function="tasks") == []


async def test_the_first_of_three_fails_and_the_others_run(site: Served, work: str) -> None:
    response = await site.call("tasks/three-of-which-the-first-fails", params={"work": work})
    for number in (3, 2):
        (await site.gate.arrival(f"{work}-{number}")).let_go()
    tasks = await site.finished(response, count=3)
    assert {task["name"].removeprefix(work): task["outcome"] for task in tasks} == {
        "-1": "rejected",
        "-2": "fulfilled",
        "-3": "fulfilled",
    }


async def test_a_timeout_ends_the_task_on_record(site: Served, work: str) -> None:
    response = await site.call("tasks/timeout", params={"work": work})
    arrival = await site.gate.arrival(work)
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"], task["level"]) == (work, "timed_out", "warning")
    # Of 50; the news of its start may come late.
    assert task["ms"] >= 25
    arrival.let_go()
    await _turn(site)
    assert len(site.node.found("task", name=work)) == 1


async def test_a_timeout_that_does_not_come_about(site: Served, work: str) -> None:
    response = await site.call("tasks/in-time", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert task["outcome"] == "fulfilled"


async def test_work_can_stop_at_its_timeout(site: Served, work: str) -> None:
    response = await site.call("tasks/stops-at-timeout", params={"work": work})
    await (await site.gate.arrival(work)).gone()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == (work, "timed_out")


async def test_options_of_the_wrong_kind_are_refused(site: Served) -> None:
    response = await site.call("tasks/wrong-options", params={"work": ""})
    assert response.json().startswith("TypeError: ")
    assert "name must be" in response.json()


async def test_a_function_names_the_task_that_it_is(site: Served, work: str) -> None:
    response = await site.call("tasks/function-form", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == ("refresh", "fulfilled")
    await site.node.wait_for("log", msg=f"{work} refreshed")


async def test_a_task_keeps_its_environment_and_its_request_after_the_response(site: Served, work: str) -> None:
    responses = [await site.call("tasks/prints-later", params={"work": f"{work}-{n}"}) for n in range(3)]
    for n in (2, 0, 1):
        (await site.gate.arrival(f"{work}-{n}")).let_go()
    for n, response in enumerate(responses):
        expected = f"{work}-{n} has the environment {response.headers['x-sb-execution-id']}"
        line = await site.node.wait_for("log", msg=expected)
        assert line["request_id"] == response.headers["sb-request-id"]
        assert line["execution_id"] == response.headers["x-sb-execution-id"]
    assert len({response.headers["sb-request-id"] for response in responses}) == 3


@pytest.mark.parametrize("last", ["keep-alive", "close"])
async def test_a_long_task_delays_nothing_on_its_connection(site: Served, work: str, last: str) -> None:
    """Not its own response, nor the next request on the connection, nor the closing of it."""
    reader, writer = await asyncio.open_connection(*site.node.address)
    path = f"/functions/v1/tasks/in-handler?work={work}"
    for connection in ("keep-alive", last):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(4) == b"null"
    if last == "keep-alive":
        writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    arrivals = [await site.gate.arrival(work) for _ in range(2)]
    assert all(arrival.waits for arrival in arrivals)
    assert site.node.found("task", name=work) == []
    for arrival in arrivals:
        arrival.let_go()
    await site.node.wait_for("task", name=work, outcome="fulfilled", count=2)


async def _turn(site: Served) -> None:
    """Whatever ``tasks`` had to report before now has been logged."""
    await site.finished(await site.call("tasks/settled", params={"work": "turn"}))
