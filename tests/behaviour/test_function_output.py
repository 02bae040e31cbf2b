"""What a function prints is in the log, line by line as it was printed, and says whose it is."""

import asyncio

from tests.behaviour.served import TYPESCRIPT_ONLY, Served

FUNCTIONS = ("printing", "printing-oddly")
ARGUMENTS = ("--log-level=debug",)
OBJECT = {"typescript": 'object { a: [ 1, "two" ] }', "python": "object {'a': [1, 'two']}"}
HALF_A_CHARACTER = {"typescript": "\ufffd", "python": "\\ud83c"}


async def test_levels_lines_and_attribution(site: Served, work: str, language: str) -> None:
    calling = asyncio.create_task(site.call("printing", params={"work": work}))
    (await site.gate.arrival(work)).let_go("after the gate")
    response = await calling
    await site.node.wait_for("log", msg=f"{work} after the gate")
    lines = site.node.found("log", request_id=response.headers["sb-request-id"])
    assert [(line["level"], line["msg"].removeprefix(f"{work} ")) for line in lines] == [
        ("debug", "debug"),
        ("info", "log"),
        ("info", "info"),
        ("warning", "warn"),
        ("error", "error"),
        ("info", "one\n  two\nthree"),
        ("info", OBJECT[language]),
        ("info", "Grüße 🌍"),
        ("info", "after the gate"),
    ]
    assert {line["execution_id"] for line in lines} == {response.headers["x-sb-execution-id"]}
    assert {line["function"] for line in lines} == {"printing"}


async def test_what_the_top_level_prints_belongs_to_no_request(site: Served) -> None:
    line = await site.node.wait_for("log", msg="evaluated")
    assert "request_id" not in line
    assert line["execution_id"]


async def test_lines_of_requests_that_run_together_do_not_mix(site: Served, work: str) -> None:
    names = [f"{work}-{n}" for n in range(20)]
    calls = [asyncio.create_task(site.call("printing", params={"work": name})) for name in names]
    arrivals = [await site.gate.arrival(name) for name in names]
    for name, arrival in reversed([*zip(names, arrivals, strict=True)]):
        arrival.let_go(f"ends as {name}")
    for name, call in zip(names, calls, strict=True):
        request_id = (await call).headers["sb-request-id"]
        await site.node.wait_for("log", msg=f"{name} ends as {name}", request_id=request_id)
        lines = site.node.found("log", request_id=request_id)
        assert all(line["msg"].startswith(f"{name} ") for line in lines)
        assert len(lines) == 9


async def test_what_goes_round_the_console_is_read_too(site: Served) -> None:
    response = await site.call("printing-oddly")
    execution_id = response.headers["x-sb-execution-id"]
    for level, text in (("info", "written to stdout"), ("info", "in two"), ("error", "written to stderr")):
        line = await site.node.wait_for("log", function="printing-oddly", msg=text)
        assert (line["level"], line["execution_id"]) == (level, execution_id)


@TYPESCRIPT_ONLY
async def test_a_warning_of_a_package_is_no_error(site: Served) -> None:
    await site.call("printing-oddly")
    line = await site.node.wait_for("log", msg=lambda text: text.endswith(" Warning: in the way of Node.js"))
    assert line["level"] == "warning"


async def test_a_line_of_a_megabyte_is_cut(site: Served, language: str) -> None:
    response = await site.call("printing-oddly")
    mine = {"function": "printing-oddly", "request_id": response.headers["sb-request-id"]}
    line = await site.node.wait_for("log", msg=lambda text: text.startswith("xxxx"), **mine)
    assert len(line["msg"]) < 70_000
    await site.node.wait_for("log", msg=f"half a character: {HALF_A_CHARACTER[language]}", **mine)
    await site.node.wait_for("log", msg='pretends\n{"event":"ready","url":"http://forged"}', **mine)
    assert len(site.node.found("ready")) == 1


async def test_every_answer_names_its_request_and_its_execution(site: Served, work: str) -> None:
    calling = asyncio.create_task(site.call("printing", params={"work": work}, headers={"sb-request-id": "forged"}))
    (await site.gate.arrival(work)).let_go()
    response = await calling
    request_id = response.headers["sb-request-id"]
    assert request_id != "forged"
    request = await site.node.wait_for("request", request_id=request_id)
    assert (request["function"], request["method"], request["status"]) == ("printing", "GET", 200)
    assert request["path"].startswith("/functions/v1/printing")
    assert request["execution_id"] == response.headers["x-sb-execution-id"]
    missing = await site.call("nothing-here")
    assert (missing.status_code, missing.text) == (404, "Function not found")
    assert missing.headers["sb-request-id"] != request_id
    assert missing.headers["sb-error-code"] == "NOT_FOUND"
