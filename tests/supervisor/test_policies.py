"""How requests are spread over workers, and what that means for their tasks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.supervisor.site import Site, function, site, texts, worker_of

MOST_WORKERS = 16


def policy(name: str) -> str:
    return f'[edge_runtime]\npolicy = "{name}"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def per_request(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    functions = {name: function(name) for name in ("alone", "parallel", "after")}
    async with site(tmp_path_factory.mktemp("project"), functions, config=policy("per_request")) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def oneshot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    functions = {name: function(name) for name in ("fresh", "cut", "waits", "many")}
    overrides = '[functions.waits]\noneshot_background = "wait"\n'
    folder = tmp_path_factory.mktemp("project")
    async with site(folder, functions, config=policy("oneshot"), outlast=overrides) as served:
        yield served


class TestPerRequest:
    async def test_a_worker_has_one_request_at_a_time_and_then_the_next(self, per_request: Site) -> None:
        first = await per_request.get("alone")
        second = await per_request.get("alone")
        assert worker_of(first) == worker_of(second)

    async def test_requests_at_the_same_time_go_to_workers_of_their_own(self, per_request: Site) -> None:
        names = [f"parallel-{number}" for number in range(4)]
        calls = [asyncio.create_task(per_request.get(f"parallel?wait={name}")) for name in names]
        await per_request.held(*names)
        per_request.let_go(*names)
        responses = await asyncio.gather(*calls)
        assert texts(responses) == {(200, "parallel")}
        workers = {worker_of(response) for response in responses}
        assert len(workers) == len(names)
        assert worker_of(await per_request.get("parallel")) in workers

    async def test_a_task_goes_on_while_its_worker_has_the_next_request(self, per_request: Site) -> None:
        first = await per_request.get("after?task=goes-on")
        await per_request.held("goes-on")
        second = await per_request.get("after")
        assert worker_of(first) == worker_of(second)
        per_request.let_go("goes-on")
        task = await per_request.node.wait_for("task", name="goes-on")
        assert (task["outcome"], task["request_id"]) == ("fulfilled", first.headers["sb-request-id"])


class TestOneshot:
    async def test_every_request_has_a_fresh_worker_that_ends_with_its_response(self, oneshot: Site) -> None:
        responses = [await oneshot.get("fresh") for _ in range(3)]
        assert texts(responses) == {(200, "fresh")}
        workers = [worker_of(response) for response in responses]
        assert len({*workers}) == 3
        for worker in workers:
            end = await oneshot.node.wait_for("shutdown", execution_id=worker)
            assert end["reason"] == "oneshot"

    async def test_a_task_is_cut_off_and_named_with_the_remedy(self, oneshot: Site) -> None:
        response = await oneshot.get("cut?task=too-long")
        assert response.text == "cut"
        task = await oneshot.node.wait_for("task", function="cut")
        assert (task["name"], task["outcome"], task["reason"]) == ("too-long", "interrupted", "oneshot")
        assert task["level"] == "warning"
        assert task["request_id"] == response.headers["sb-request-id"]
        assert 'policy = "per_worker"' in task["msg"]
        assert task["ms"] >= 0

    async def test_a_task_is_waited_for_where_the_settings_say_so(self, oneshot: Site) -> None:
        response = await oneshot.get("waits?task=long-enough")
        await oneshot.held("long-enough")
        assert worker_of(await oneshot.get("waits")) != worker_of(response)
        assert not oneshot.node.found("shutdown", execution_id=worker_of(response))
        oneshot.let_go("long-enough")
        task = await oneshot.node.wait_for("task", function="waits")
        assert task["outcome"] == "fulfilled"
        end = await oneshot.node.wait_for("shutdown", execution_id=worker_of(response))
        assert end["reason"] == "oneshot"

    async def test_no_more_workers_than_there_may_be_and_the_rest_waits_its_turn(self, oneshot: Site) -> None:
        names = [f"many-{number}" for number in range(MOST_WORKERS + 2)]
        calls = [asyncio.create_task(oneshot.get(f"many?wait={name}")) for name in names]
        there = asyncio.Queue[str]()

        async def come(name: str) -> None:
            await oneshot.held(name)
            there.put_nowait(name)

        coming = [asyncio.create_task(come(name)) for name in names]
        come_first = [await there.get() for _ in range(MOST_WORKERS)]
        alive = len(oneshot.node.found("boot", function="many")) - len(oneshot.node.found("shutdown", function="many"))
        assert alive == MOST_WORKERS
        oneshot.let_go(*come_first)
        late = [await there.get() for _ in range(2)]
        oneshot.let_go(*late)
        responses = await asyncio.gather(*calls, *coming)
        assert texts(responses[: len(names)]) == {(200, "many")}
