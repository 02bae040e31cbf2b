"""Speaks to the admin API of a served node as its owner would."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from tests.support.node import Event, Node

PATIENCE_S = 30


def token(node: Node) -> str:
    return (node.project / ".outlast/admin-token").read_text().strip()


def admin_url(node: Node) -> str:
    [ready] = node.found("ready")
    return str(ready["admin_url"])


@contextlib.asynccontextmanager
async def admin(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {token(node)}"}
    async with httpx.AsyncClient(base_url=admin_url(node), headers=headers, timeout=PATIENCE_S) as client:
        yield client


async def messages(response: httpx.Response) -> AsyncIterator[tuple[dict[str, str], Event]]:
    """Each server-sent event: its fields, and its data decoded."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line == "":
            if "data" in fields:
                data: Any = json.loads(fields["data"])
                yield fields, data
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
