"""A function that cannot be started is answered for with 503, and the log says what its author must mend."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.behaviour.served import Served, served
from tests.support.node import write_project

BROKEN = {
    "syntax-error": ("const greeting = 'hello'\nconst = 1\n", ["index.ts:2:7", "expected"]),
    "throws": ("import.meta.url\nthrow new Error('no key for the mail service')\n", ["no key for", "index.ts:2:7"]),
    "throws-nothing": ("throw undefined", ["undefined"]),
    "missing-file": ("import './missing.ts'\nDeno.serve(() => new Response())", ["missing.ts", "index.ts:1:8"]),
    "missing-name": ("import { nothing } from './other.ts'\nnothing()", ["nothing", "other.ts"]),
    "missing-package": ("import 'not-in-any-map'\n", ["not-in-any-map", "index.ts:1:8"]),
    "bad-deno-json": ("Deno.serve(() => new Response())", ["deno.json"]),
    "rejects-late": ("await new Promise((d) => setTimeout(d, 20))\nawait Promise.reject(new Error('late'))", ["late"]),
    "exits": ("Deno.exit(7)", ["7"]),
}
FILES = {
    "missing-name/other.ts": "export const something = 1",
}
WHOLE = "Deno.serve(() => new Response('ok'))"
NEVER_SERVES = {"never-serves": "export const nothing = 1", "never-ends": "await new Promise(() => {})"}
OUTLAST_TOML = "\n".join(f"[functions.{name}.limits]\nboot_timeout_ms = 1500" for name in NEVER_SERVES)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    sources = {name: source for name, (source, _) in BROKEN.items()}
    project = write_project(
        tmp_path_factory.mktemp("site"), {**sources, **FILES, **NEVER_SERVES, "whole": WHOLE}, outlast=OUTLAST_TOML
    )
    (project / "supabase/functions/bad-deno-json/deno.json").write_text('{ "imports": ')
    async with served(project) as site:
        yield site


def assert_boot_error(status: int, body: object) -> None:
    assert status == 503
    assert body == {"code": "BOOT_ERROR", "message": "Worker failed to boot (please check logs)"}


@pytest.mark.parametrize("function", BROKEN)
async def test_the_log_says_what_is_wrong(site: Served, function: str) -> None:
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    assert response.headers["sb-error-code"] == "BOOT_ERROR"
    failure = await site.node.wait_for("boot_failure", function=function)
    assert failure["level"] == "error"
    for words in BROKEN[function][1]:
        assert words in failure["msg"], failure["msg"]
    assert "bootstrap.ts" not in failure["msg"]


async def test_it_is_tried_again_with_the_next_request(site: Served) -> None:
    since = site.now
    for _ in range(2):
        response = await site.call("throws")
        assert_boot_error(response.status_code, response.json())
    await site.node.wait_for("boot_failure", function="throws", since=since, count=2)


@pytest.mark.parametrize("function", NEVER_SERVES)
async def test_what_never_serves_is_given_up(site: Served, function: str) -> None:
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    failure = await site.node.wait_for("boot_failure", function=function)
    assert "did not start to serve within 1500 ms" in failure["msg"]
    assert "boot_timeout_ms" in failure["msg"]


async def test_what_only_exports_is_told_how_to_serve(site: Served) -> None:
    since = site.now
    await site.call("never-serves")
    line = await site.node.wait_for("log", level="warning", function="never-serves", since=since)
    assert "call Deno.serve(handler) or export default { fetch }" in line["msg"]


async def test_its_neighbours_are_served(site: Served) -> None:
    response = await site.call("whole")
    assert (response.status_code, response.text) == (200, "ok")
