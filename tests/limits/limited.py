"""A function out of ``functions/``, served under several names with different limits; and how its workers end."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.behaviour.served import Served, add_function, assemble, served
from tests.support.node import Event

from outlast.core.outcome import RequestEnd

SOURCES = Path(__file__).with_name("functions")


@asynccontextmanager
async def serving_limited(
    folder: Path,
    language: str,
    functions: Mapping[str, Mapping[str, int]],
    *,
    source: str = "limited",
    every: str = "",
    arguments: Sequence[str] = (),
) -> AsyncIterator[Served]:
    """``functions``: the limits of each. ``every``: the rest of outlast.toml."""
    tables = [every]
    for name, limits in functions.items():
        tables.append(f"[functions.{name}.limits]")
        tables += [f"{key} = {value}" for key, value in limits.items()]
    project = assemble(folder, language, (), outlast="\n".join(tables))
    for name in functions:
        add_function(project, language, name, SOURCES / source)
    async with served(project, *arguments) as site:
        yield site


def worker_of(response: httpx.Response) -> str:
    return response.headers["x-sb-execution-id"]


async def next_is_served(site: Served, function: str, *, after: str) -> None:
    """``after``: the worker that must not be the one that does it."""
    response = await site.call(function)
    assert (response.status_code, response.text) == (200, "ok"), response.text
    assert worker_of(response) != after


async def life_of(site: Served, worker: str) -> list[tuple[str, str]]:
    """Its life-cycle's events with their reasons, in order, once it has ended."""
    await site.node.wait_for("shutdown", execution_id=worker)
    kinds = ("boot", "retire", "beforeunload", "shutdown")
    return [
        (entry["event"], entry.get("reason", ""))
        for entry in site.node.found(execution_id=worker)
        if entry["event"] in kinds
    ]


def told(site: Served, worker: str) -> list[str]:
    """What its listener heard, in order."""
    found = site.node.found("log", execution_id=worker, msg=lambda text: text.startswith("heard "))
    return [entry["msg"].removeprefix("heard ") for entry in found]


class Hostages:
    """An open task, a request without an answer and one in the middle of its answer, all in one worker."""

    def __init__(self, site: Served, function: str, work: str) -> None:
        self._site = site
        self._function = function
        self._work = work
        self._open = AsyncExitStack()
        self.worker = ""

    async def __aenter__(self) -> "Hostages":
        site, work = self._site, self._work
        task = await site.call(f"{self._function}/task", params={"work": f"{work}-task"})
        self.worker = worker_of(task)
        self._arrivals = [await site.gate.arrival(f"{work}-task")]
        streaming = site.client.stream("GET", f"/functions/v1/{self._function}/streams?work={work}-stream")
        response = await self._open.enter_async_context(streaming)
        self._parts = response.aiter_raw()
        assert await anext(self._parts) == b"begun"
        assert worker_of(response) == self.worker
        self._arrivals.append(await site.gate.arrival(f"{work}-stream"))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    async def are_free(self) -> None:
        """Lets them go: they end well."""
        for arrival in self._arrivals:
            arrival.let_go("done")
        assert b"".join([part async for part in self._parts]) == b"done"
        task = await self._site.node.wait_for("task", name=f"{self._work}-task")
        assert (task["outcome"], task["execution_id"]) == ("fulfilled", self.worker)

    async def are_cut_off(self, reason: str) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(self._parts)
        task = await self._site.node.wait_for("task", name=f"{self._work}-task")
        assert (task["outcome"], task["reason"], task["level"]) == ("interrupted", reason, "warning")
        assert task["execution_id"] == self.worker
        request = await self._site.node.wait_for("request", execution_id=self.worker, first_byte_ms=lambda ms: ms > 0)
        if reason != "memory":
            # The kernel may have been quicker: why it ended a process is known when that is gone.
            assert request["msg"] == RequestEnd.WORKER_LIMIT.words


def is_limit_answer(response: httpx.Response, reason: str, limit: int) -> None:
    """The answer to a request whose worker was ended by its limit."""
    worker = worker_of(response)
    assert (response.status_code, response.headers["sb-error-code"]) == (546, "WORKER_LIMIT"), response.text
    body = response.json()
    assert body.pop("used") >= limit
    assert body == {
        "code": "WORKER_LIMIT",
        "message": "Worker failed to respond due to a resource limit (please check logs)",
        "reason": reason,
        "limit": limit,
        "execution_id": worker,
    }


async def shutdown_by_limit(site: Served, worker: str, function: str, reason: str, key: str, limit: int) -> Event:
    """What the log says of it."""
    end = await site.node.wait_for("shutdown", execution_id=worker)
    assert (end["level"], end["reason"], end["limit"]) == ("error", reason, limit)
    unit = "MiB" if reason == "memory" else "ms"
    assert end["msg"].endswith(
        f"{end['used']} {unit} used, {limit} {unit} allowed. "
        f"To raise it: [functions.{function}.limits] {key} in outlast.toml"
    )
    return end
