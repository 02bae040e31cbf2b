"""Tries the one escape that a request to `/prober/NAME` names, on what the body says is there."""

import json
from types import SimpleNamespace

import attempt
import files
import kernel
import network
import processes

from outlast import Request, Response, serve

PROBES = attempt.PROBES
assert files.PROBES is kernel.PROBES is network.PROBES is processes.PROBES is PROBES


@serve
async def handler(request: Request) -> Response:
    name = request.path.split("/")[2]
    if name == "names":
        return Response.json(sorted(PROBES))
    return Response.json(attempt.make(PROBES[name], SimpleNamespace(**json.loads(await request.body()))))
