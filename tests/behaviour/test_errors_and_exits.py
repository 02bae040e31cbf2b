"""What an error, an exit or a crash costs: the request or task that it happened in, and nothing else."""

import asyncio
import os
import signal

import httpx
import pytest
from tests.behaviour.served import Served

FUNCTIONS = ("failing", "listening", "exiting", "handlers")
STACK = {"typescript": ["\n    at ", "index.ts:"], "python": ["Traceback ", 'main.py", line ']}
MACHINERY = ("ext:", "/outlast/engines/", "/outlast/runtime/", "asyncio")
"""Frames that the function's owner can do nothing about."""


@pytest.mark.parametrize(("case", "said"), [("lost", "was lost"), ("in-timer", "was thrown")])
async def test_an_uncaught_error_retires_the_worker(
    site: Served, work: str, language: str, case: str, said: str
) -> None:
    """Its other requests and tasks finish, and the next request gets a new worker."""
    since = site.now
    with_task = await site.call("failing/task", params={"work": f"{work}-task"})
    task_at_gate = await site.gate.arrival(f"{work}-task")
    failing = await site.call(f"failing/{case}", params={"work": work})
    old = failing.headers["x-sb-execution-id"]
    assert with_task.headers["x-sb-execution-id"] == old

    waiting = asyncio.create_task(site.call("failing/waits", params={"work": f"{work}-request"}))
    request_at_gate = await site.gate.arrival(f"{work}-request")
    (await site.gate.arrival(work)).let_go()
    error = await site.node.wait_for("uncaught", execution_id=old)
    assert error["level"] == "error"
    for words in STACK[language]:
        assert words in error["msg"]
    assert f"Error: {work} {said}" in error["msg"]
    if case == "lost":
        # What a timer's callback throws has lost its request by the time the runtime tells of it.
        assert error["request_id"] == failing.headers["sb-request-id"]
    assert (await site.node.wait_for("retire", execution_id=old))["reason"] == "uncaught"

    new = await site.call("failing/none", params={"work": ""})
    assert new.headers["x-sb-execution-id"] != old
    request_at_gate.let_go("answered")
    assert (await waiting).text == "answered"
    assert task_at_gate.waits
    assert site.node.found("shutdown", execution_id=old) == []
    task_at_gate.let_go()
    (task,) = await site.finished(with_task)
    assert task["outcome"] == "fulfilled"
    assert (await site.node.wait_for("shutdown", execution_id=old))["level"] == "info"
    (heard,) = site.node.found("log", execution_id=old, msg=lambda text: text.startswith("beforeunload"))
    assert heard["msg"] == "beforeunload early_drop"
    assert site.node.found("task", outcome="interrupted", since=since) == []


async def test_a_listener_can_handle_what_nobody_awaits(site: Served, work: str) -> None:
    response = await site.call("listening/harmless", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    await site.node.wait_for("log", msg=f"heard {work} harmless with its promise")
    again = await site.call("listening/harmless", params={"work": f"{work}-again"})
    assert again.headers["x-sb-execution-id"] == response.headers["x-sb-execution-id"]
    assert site.node.found("uncaught", function="listening") == []


async def test_a_listener_that_prevents_nothing_handles_nothing(site: Served, work: str) -> None:
    response = await site.call("listening/serious", params={"work": work})
    (await site.gate.arrival(work)).let_go()
    await site.node.wait_for("log", msg=f"heard {work} serious with its promise")
    error = await site.node.wait_for("uncaught", execution_id=response.headers["x-sb-execution-id"])
    assert f"{work} serious" in error["msg"]


@pytest.mark.parametrize(
    ("case", "status", "text", "code", "logged"),
    [
        ("throws", 500, "Internal Server Error", "HANDLER_ERROR", "the handler threw"),
        ("rejects", 500, "Internal Server Error", "HANDLER_ERROR", "the handler rejected"),
        ("returns-nothing", 502, "Bad Gateway", "BAD_RESPONSE", "not a Response"),
        ("returns-text", 502, "Bad Gateway", "BAD_RESPONSE", "not a Response"),
    ],
)
async def test_a_handler_that_fails(site: Served, case: str, status: int, text: str, code: str, logged: str) -> None:
    response = await site.call(f"handlers/{case}")
    assert (response.status_code, response.text) == (status, text)
    assert response.headers["sb-error-code"] == code
    assert response.headers["access-control-allow-origin"] == "*"
    request_id = response.headers["sb-request-id"]
    line = await site.node.wait_for("log", level="error", request_id=request_id)
    assert logged in line["msg"]
    assert not [frame for frame in MACHINERY if frame in line["msg"]], line["msg"]
    again = await site.call(f"handlers/{case}")
    assert again.headers["x-sb-execution-id"] == response.headers["x-sb-execution-id"]


async def test_a_body_that_breaks_off_does_not_look_whole(site: Served, language: str) -> None:
    since = site.now
    with pytest.raises(httpx.RemoteProtocolError):
        await site.call("handlers/stops-in-its-body")
    line = await site.node.wait_for("log", since=since, level="error", msg=lambda text: "the body broke off" in text)
    request = await site.node.wait_for("request", since=since, path="/functions/v1/handlers/stops-in-its-body")
    assert (request["status"], request["msg"]) == (200, "the function broke off before its answer was complete")
    assert line["request_id"] == request["request_id"]
    again = await site.call("handlers/returns-text")
    assert again.status_code == 502
    for words in STACK[language]:
        assert words in line["msg"]
    assert not [frame for frame in MACHINERY if frame in line["msg"]], line["msg"]
    # Others of this function may still be on their way from the test before.
    assert site.node.found("log", since=since, level="error", msg=lambda text: "not a Response" not in text) == [line]


async def test_a_task_that_exits_cuts_off_itself_and_the_others(site: Served, work: str) -> None:
    other = await site.call("exiting/task", params={"work": f"{work}-other"})
    await site.gate.arrival(f"{work}-other")
    exiting = await site.call("exiting/exit-in-task", params={"work": work})
    assert exiting.status_code == 200
    (await site.gate.arrival(work)).let_go()
    for response, name in ((exiting, work), (other, f"{work}-other")):
        (task,) = await site.finished(response)
        assert (task["name"], task["outcome"], task["reason"]) == (name, "interrupted", "exit")
    new = await site.call("exiting/pid", params={"work": ""})
    assert (new.status_code, new.text != other.text) == (200, True)


async def test_a_function_that_exits_takes_its_own_worker_along(site: Served, work: str, language: str) -> None:
    with_task = await site.call("exiting/task", params={"work": work})
    await site.gate.arrival(work)
    old = with_task.headers["x-sb-execution-id"]
    waiting = asyncio.create_task(site.call("exiting/waits", params={"work": f"{work}-request"}))
    await site.gate.arrival(f"{work}-request")

    exiting = await site.call("exiting/exit", params={"work": ""})
    for response in (exiting, await waiting):
        assert response.status_code == 500
        assert response.json() == {
            "code": "WORKER_ERROR",
            "message": "Function exited due to an error (please check logs)",
        }
        assert response.headers["sb-error-code"] == "WORKER_ERROR"
        assert response.headers["x-sb-execution-id"] == old
    (task,) = await site.finished(with_task)
    assert (task["name"], task["outcome"], task["reason"]) == (work, "interrupted", "exit")
    assert task["level"] == "warning"
    end = await site.node.wait_for("shutdown", execution_id=old)
    assert (end["reason"], end["level"]) == ("exit", "error")
    assert "exit code 3" in end["msg"]
    (error,) = site.node.found("uncaught", execution_id=old)
    for words in ("the listener of unload threw", *STACK[language]):
        assert words in error["msg"]

    new = await site.call("exiting/pid", params={"work": ""})
    assert new.status_code == 200
    assert new.headers["x-sb-execution-id"] != old


async def test_a_worker_that_crashes_leaves_a_record_of_each_task(site: Served, work: str) -> None:
    responses = [await site.call("exiting/task", params={"work": f"{work}-{n}"}) for n in range(3)]
    old = responses[0].headers["x-sb-execution-id"]
    arrivals = [await site.gate.arrival(f"{work}-{n}") for n in range(3)]
    waiting = asyncio.create_task(site.call("exiting/waits", params={"work": f"{work}-request"}))
    await site.gate.arrival(f"{work}-request")
    os.kill(int(responses[0].text), signal.SIGKILL)

    for n, response in enumerate(responses):
        (task,) = await site.finished(response)
        assert (task["name"], task["outcome"], task["reason"]) == (f"{work}-{n}", "interrupted", "crash")
        assert task["level"] == "warning"
        assert task["ms"] >= 0
        await arrivals[n].gone()
    end = await site.node.wait_for("shutdown", execution_id=old)
    assert (end["reason"], end["level"]) == ("crash", "error")
    answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (500, "WORKER_ERROR")

    new = await site.call("exiting/pid", params={"work": ""})
    assert new.status_code == 200
    assert new.text != responses[0].text
