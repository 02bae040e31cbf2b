"""What a worker needs for its first request is loaded before it is forked."""

from pathlib import Path

import httpx
from tests.support.node import serving, write_project

FUNCTION = """
import asyncio
import sys

from outlast import EdgeRuntime, Request, Response, serve

loaded = {{*sys.modules}}

@serve
{kind} handler(request: Request) -> Response:
    if request.query:
        return Response.json(sorted({{*sys.modules}} - loaded))
    EdgeRuntime.wait_until(asyncio.sleep(0))
    print("here")
    return Response.json({{}})
"""
SOURCES = {"waiting/main.py": FUNCTION.format(kind="async def"), "plain/main.py": FUNCTION.format(kind="def")}


async def test_the_first_request_loads_nothing(tmp_path: Path) -> None:
    async with serving(write_project(tmp_path, SOURCES)) as node, httpx.AsyncClient(base_url=node.url) as client:
        for name in ("waiting", "plain"):
            response = await client.get(f"/functions/v1/{name}")
            assert response.status_code == 200, response.text
            loaded = (await client.get(f"/functions/v1/{name}?loaded")).json()
            assert loaded == [], name
