"""Connections that ask again as soon as they are answered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from bench.connection import BenchError, get

from bench import closed_loop

IN_CHUNKS = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n", b"ok\r\n0\r\n", b"\r\n")


@asynccontextmanager
async def answering(answer: Sequence[bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that sends its answers in these pieces, and what it has been asked for."""
    paths: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            if head.startswith(b"GET "):
                paths.append(head.split()[1].decode())
            if head == b"Connection: close\r\n":
                await reader.readline()
                writer.writelines(answer)
                writer.close()
                return
            if head == b"\r\n":
                for piece in answer:
                    writer.write(piece)
                    await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", paths


async def test_so_many_requests_go_to_each_address_in_turn() -> None:
    async with answering([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]) as (url, paths):
        urls = [f"{url}/one", f"{url}/two"]
        latencies = await asyncio.to_thread(closed_loop.run, urls, connections=3, requests=10)
    assert len(latencies) == 10
    assert sorted(paths) == ["/one"] * 5 + ["/two"] * 5


async def test_a_body_in_chunks_is_read_to_its_end() -> None:
    async with answering(IN_CHUNKS) as (url, paths):
        await asyncio.to_thread(closed_loop.run, [url], connections=1, requests=3)
        assert (await asyncio.to_thread(get, url)).text == "ok"
    assert paths == ["/"] * 4


async def test_a_request_that_is_refused_ends_the_measurement() -> None:
    async with answering([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"]) as (url, _):
        with pytest.raises(BenchError, match="503"):
            await asyncio.to_thread(closed_loop.run, [url], connections=1, requests=1)
