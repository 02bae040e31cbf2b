"""Far more each way through a served function than the node may have in memory meanwhile."""

import asyncio
import contextlib
import hashlib
import re
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.gateway.rig import Client
from tests.support.node import Node, serving, write_project

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc"),
]

MAX_GROWTH = 32 << 20
MUCH = 8 * MAX_GROWTH
PIECE = bytes(range(256)) * 1024

COUNT = """
Deno.serve(async (req) => {
  let count = 0;
  for await (const piece of req.body ?? []) count += piece.length;
  return new Response(String(count));
});
"""

UNLIMITED = "[limits]\ncpu_soft_ms = 0\ncpu_hard_ms = 0\n"
"""So much costs a worker more CPU time than it has by default."""

POUR = """
const piece = new Uint8Array(1 << 18);
Deno.serve((req) => {
  let left = Number(new URL(req.url).searchParams.get("bytes"));
  return new Response(new ReadableStream({
    pull(controller) {
      if (left <= 0) return controller.close();
      controller.enqueue(piece.slice(0, Math.min(left, piece.length)));
      left -= piece.length;
    },
  }));
});
"""

POUR_PYTHON = """
from outlast import Response, serve

PIECE = bytes(1 << 16)

@serve
async def handler(request):
    async def pieces():
        for _ in range(int(request.query["bytes"]) >> 16):
            yield PIECE
    return Response(pieces())
"""

HEAP_PYTHON = """
from outlast import Response, serve

@serve
def handler(request):
    return Response(bytes(int(request.query["bytes"])))
"""

EARLY = """
Deno.serve((_req) => new Response("not that much", { status: 413 }));
"""

EARLY_PYTHON = """
from outlast import Response, serve

@serve
def handler(request):
    return Response("not that much", status=413, headers={"connection": "close"})
"""

ECHO = """
Deno.serve((req) => new Response(req.body));
"""

SOCKET = """
Deno.serve((req) => {
  const { socket, response } = Deno.upgradeWebSocket(req);
  socket.onmessage = (event) => socket.send(event.data);
  return response;
});
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    functions = {"count": COUNT, "pour": POUR, "early": EARLY, "echo": ECHO, "socket": SOCKET}
    functions |= {
        "pour-python/main.py": POUR_PYTHON,
        "heap-python/main.py": HEAP_PYTHON,
        "early-python/main.py": EARLY_PYTHON,
    }
    async with serving(write_project(tmp_path_factory.mktemp("streams"), functions, outlast=UNLIMITED)) as served:
        yield served


async def connect(node: Node) -> Client:
    return Client(*await asyncio.open_connection(*node.address, limit=1 << 20))


def peak(node: Node) -> int:
    """The most memory that the node has ever had, in bytes."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def upload(client: Client, path: bytes, size: int, chunked: bool, *, missing: int = 0) -> None:
    """``missing``: so many bytes more are announced, which never come."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (size + missing)
    client.send(b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (path, framing))
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    for _ in range(size // len(PIECE)):
        client.send(piece)
        await client.writer.drain()
    if chunked:
        client.send(b"0\r\n\r\n")


async def warm(node: Node, client: Client) -> int:
    """Some traffic both ways first, which takes what is taken once and for all. Returns the peak then."""
    await upload(client, b"/count", 1 << 22, chunked=False)
    assert (await client.answer()).body == b"%d" % (1 << 22)
    client.send(b"GET /pour?bytes=%d HTTP/1.1\r\nHost: a\r\n\r\n" % (1 << 22))
    assert len((await client.answer()).body) == 1 << 22
    return peak(node)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_upload_does_not_pile_up(node: Node, chunked: bool) -> None:
    client = await connect(node)
    before = await warm(node, client)
    await upload(client, b"/functions/v1/count", MUCH, chunked)
    answer = await client.answer()
    assert answer.body == b"%d" % MUCH
    assert answer.head.keep_alive
    assert peak(node) - before < MAX_GROWTH
    client.abort()


@pytest.mark.parametrize("pace", ["fast", "slow"])
@pytest.mark.parametrize("function", ["pour", "pour-python", "heap-python"])
async def test_a_download_does_not_pile_up(node: Node, function: str, pace: str) -> None:
    client = await connect(node)
    before = await warm(node, client)
    size = MUCH if pace == "fast" else 64 << 20
    # Without chunks, so that counting is all there is to do here.
    client.send(b"GET /functions/v1/%b?bytes=%d HTTP/1.0\r\n\r\n" % (function.encode(), size))
    assert (await client.head()).status == 200
    count = len(client.beyond)
    while data := await client.reader.read(1 << 20):
        count += len(data)
        if pace == "slow":
            # The function is far faster than this, so what it makes has to wait somewhere.
            await asyncio.sleep(0.005)
    assert count == size
    assert peak(node) - before < MAX_GROWTH
    client.abort()


async def test_an_echo_brings_back_what_was_sent(node: Node) -> None:
    client = await connect(node)
    uploading = asyncio.create_task(upload(client, b"/echo", 16 << 20, chunked=True))
    answer = await client.answer()
    await uploading
    wanted = hashlib.sha256(PIECE * ((16 << 20) // len(PIECE))).digest()
    assert hashlib.sha256(answer.body).digest() == wanted
    client.abort()


@pytest.mark.parametrize("function", ["early", "early-python"])
async def test_an_answer_before_the_upload_was_read_arrives(node: Node, function: str) -> None:
    """However soon the worker closes its end: its answer must not be lost to a failed write."""
    for _ in range(30):
        client = await connect(node)
        # Without the missing byte, all of it may have been taken before the answer, and the connection goes on.
        to = b"/" + function.encode()
        uploading = asyncio.create_task(upload(client, to, 8 << 20, chunked=False, missing=1))
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"not that much")
        assert not answer.head.keep_alive
        client.abort()
        await asyncio.gather(uploading, return_exceptions=True)


async def test_a_websocket_message_of_some_megabytes(node: Node) -> None:
    from websockets.asyncio.client import connect as open_websocket

    async with open_websocket(node.url.replace("http", "ws") + "/functions/v1/socket", max_size=None) as socket:
        for message in ("hello", PIECE * 16, "", "bye"):
            await socket.send(message)
            assert await socket.recv() == message


async def test_a_burst_of_connections_to_a_busy_worker_kills_nobody(tmp_path: Path) -> None:
    """More requests than fit into the backlog of the worker's socket while its event loop is blocked."""
    source = """
    Deno.serve((req) => {
      if (req.url.endsWith("/block")) for (const end = Date.now() + 1500; Date.now() < end;);
      return new Response("ok");
    });
    """
    async with serving(write_project(tmp_path, {"busy": source})) as node:
        first = await connect(node)
        first.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\nGET /busy/block HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await first.answer()).body == b"ok"
        clients = await asyncio.gather(*(connect(node) for _ in range(400)))
        for client in clients:
            client.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = await asyncio.gather(*(client.answer() for client in clients))
        assert {answer.status for answer in answers} == {200}
        assert (await first.answer()).body == b"ok"
        assert not node.found("shutdown")
        for client in [*clients, first]:
            client.abort()


async def test_more_clients_than_files_are_allowed_at_first(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    source = "Deno.serve(async () => { await new Promise((go) => setTimeout(go, 500)); return new Response('ok') });"
    async with contextlib.AsyncExitStack() as stack:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            node = await stack.enter_async_context(serving(write_project(tmp_path, {"slow": source})))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        clients = await asyncio.gather(*(connect(node) for _ in range(150)))
        for client in clients:
            client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert {(await client.answer()).body for client in clients} == {b"ok"}
        for client in clients:
            client.abort()
