"""Answers that come in pieces, and connections that become WebSockets."""

from tests.behaviour.served import Served
from websockets.asyncio.client import connect

FUNCTIONS = ("websocket", "sse")


async def test_websocket(site: Served, work: str) -> None:
    host, port = site.node.address
    async with connect(f"ws://{host}:{port}/functions/v1/websocket?work={work}", max_size=None) as socket:
        for message in ("hello", "Grüße 🌍", b"\x00\xff" * 8, "x" * 300_000):
            await socket.send(message)
            assert await socket.recv() == message
    await site.node.wait_for("log", msg=f"{work} closed")
    (await site.gate.arrival(work)).let_go()
    task = await site.node.wait_for("task", name=work)
    assert task["outcome"] == "fulfilled"
    assert (await site.call("websocket", params={"work": work})).status_code == 426


async def test_events_come_one_by_one(site: Served, work: str) -> None:
    async with site.client.stream("GET", "/functions/v1/sse", params={"work": work}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        chunks = response.aiter_raw()
        for number in range(1, 4):
            (await site.gate.arrival(f"{work}-{number}")).let_go(f"event {number}")
            assert await anext(chunks) == f"data: event {number}\n\n".encode()
        assert [chunk async for chunk in chunks] == []
