"""TypeScript functions that serve in other ways than with `Deno.serve`, or with what npm has for it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.behaviour.served import Served, assemble, served

FUNCTIONS = ("default-fetch", "node-http", "hono", "express", "supabase-js")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(assemble(tmp_path_factory.mktemp("site"), "typescript", FUNCTIONS)) as site:
        yield site


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("default-fetch", "from default fetch"),
        ("node-http", "from node:http"),
        ("hono/books/7", "from hono, book 7"),
    ],
)
@pytest.mark.timeout(120)
async def test_it_answers_and_its_task_goes_on(site: Served, work: str, path: str, text: str) -> None:
    response = await site.call(path, params={"work": work})
    assert (response.status_code, response.text) == (200, text)
    arrival = await site.gate.arrival(work)
    assert site.node.found("task", name=work) == []
    arrival.let_go()
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == (work, "fulfilled")
    assert site.node.found("log", function=path.partition("/")[0], level="error") == []


async def test_a_node_server_sees_the_client_and_its_lines_have_their_request(site: Served, work: str) -> None:
    response = await site.call("node-http", params={"work": work})
    assert response.headers["x-client"] == "127.0.0.1"
    line = await site.node.wait_for("log", msg=f"{work} is served")
    assert line["request_id"] == response.headers["sb-request-id"]


@pytest.mark.timeout(120)
async def test_express(site: Served, work: str) -> None:
    response = await site.call("express/books/7", method="POST", params={"work": work}, json={"title": "Emma"})
    assert (response.status_code, response.json()) == (201, {"id": "7", "title": "Emma", "client": "127.0.0.1"})
    await site.node.wait_for("log", msg="express listens")
    (await site.gate.arrival(work)).let_go()
    (task,) = await site.finished(response)
    assert task["outcome"] == "fulfilled"
    missing = await site.call("express/nothing")
    assert missing.status_code == 404


@pytest.mark.timeout(120)
async def test_a_query_of_supabase_js_is_sent_once_and_waited_for(site: Served) -> None:
    response = await site.call("supabase-js", method="POST", json={"user": "ada"})
    assert response.json() == {"accepted": "ada"}
    arrival = await site.gate.arrival("rest/v1/ai_runs")
    assert arrival.body == b'{"user_id":"ada"}'
    assert site.node.found("task", name="insert") == []
    arrival.let_go(status="201 Created")
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == ("insert", "fulfilled")
    assert not site.gate.has_come("rest/v1/ai_runs")
