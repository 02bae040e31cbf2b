"""Answers that come in pieces, and connections that become WebSockets."""

import asyncio

from tests.behaviour.served import Served
from websockets.asyncio.client import connect

FUNCTIONS = ("websocket", "sse")


async def test_websocket(site: Served, work: str) -> None:
    host, port = site.node.address
    async with connect(f"ws://{host}:{port}/functions/v1/websocket?work={work}", max_size=None) as socket:
        for message in ("hello", "Grüße 🌍", b"\x00\xff" * 8, "x" * 300_000):
            await socket.send(message)
            assert await socket.recv() == message
        assert socket.response is not None
        request_id = socket.response.headers["sb-request-id"]
    await site.node.wait_for("log", msg=f"{work} closed", request_id=request_id)
    (await site.gate.arrival(work)).let_go()
    task = await site.node.wait_for("task", name=work)
    assert (task["outcome"], task["request_id"]) == ("fulfilled", request_id)
    assert (await site.call("websocket", params={"work": work})).status_code == 426


async def test_events_come_one_by_one(site: Served, work: str) -> None:
    async with site.client.stream("GET", "/functions/v1/sse", params={"work": work}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        chunks = response.aiter_raw()
        for number in range(1, 4):
            (await site.gate.arrival(f"{work}-{number}")).let_go(f"event {number}")
            assert await anext(chunks) == f"data: event {number}\n\n".encode()
        assert [chunk async for chunk in chunks] == []


async def test_what_an_answer_does_as_it_is_read_belongs_to_its_request(site: Served, work: str) -> None:
    answering = asyncio.create_task(site.call("sse", params={"work": work}))
    for number in range(1, 4):
        (await site.gate.arrival(f"{work}-{number}")).let_go(f"event {number}")
    request_id = (await answering).headers["sb-request-id"]
    line = await site.node.wait_for("log", msg=f"{work} has been told")
    assert line["request_id"] == request_id
    (await site.gate.arrival(f"{work}-saved")).let_go()
    task = await site.node.wait_for("task", name=f"{work}-saved")
    assert (task["outcome"], task["request_id"]) == ("fulfilled", request_id)
