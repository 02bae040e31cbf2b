"""The shortest proof that the whole works: one function, one request, one task, one shutdown."""

from pathlib import Path

import httpx
from tests.support.node import serving, write_project

SOURCE = """
Deno.serve((_req) => {
  EdgeRuntime.waitUntil(new Promise((done) => setTimeout(done, 50)), { name: "later" })
  return new Response("at once")
})
"""


async def test_answers_at_once_and_sees_the_task_through(tmp_path: Path) -> None:
    async with serving(write_project(tmp_path, {"hello": SOURCE})) as node:
        async with httpx.AsyncClient(base_url=node.url) as client:
            response = await client.get("/functions/v1/hello")
        assert (response.status_code, response.text) == (200, "at once")
        task = await node.wait_for("task", function="hello")
        assert (task["name"], task["outcome"]) == ("later", "fulfilled")
        assert task["request_id"] == response.headers["sb-request-id"]
        assert await node.stop() == 0
        assert node.found("shutdown", function="hello")[0]["reason"] == "termination"
