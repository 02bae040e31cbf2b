"""Has a worker on standby, while nobody needs it, do once everything that it will have to do for the first request.

The first time a forked process writes to a page of memory, the kernel copies it. That would be most of the time from
being told to evaluate a function to the end of its first response.
"""

import asyncio
import socket
import types

from outlast.engines.python import gate, loading
from outlast.engines.python.lane import Lane
from outlast.engines.python.server import Connection
from outlast.runtime.serving import HandlerApp
from outlast.wire import lanes, messages

_BOOT = messages.encode(messages.Boot("rehearsal", "file:///rehearsal/main.py")).rstrip()
_SOURCE = '''"""A function like any other."""
import asyncio, json, time
from outlast import EdgeRuntime, Request, Response

def serve(handler):
    return handler

@serve
async def handler(request: Request) -> Response:
    return Response.json({"path": request.path, "agent": request.headers.get("user-agent"), "url": str(request.url)})
'''
_REQUEST = (
    b"GET /rehearsal HTTP/1.1\r\nhost: 127.0.0.1:54321\r\nuser-agent: rehearsal\r\nx-forwarded-for: 127.0.0.1\r\n"
    b"x-forwarded-host: 127.0.0.1:54321\r\nx-forwarded-proto: http\r\nx-outlast-peer: 127.0.0.1:54322\r\n"
    b"sb-request-id: rehearsal\r\n\r\n"
)


def rehearse_alone() -> None:
    """In a process that has no event loop, nor anything of a function. Leaves nothing open.

    What libuv opens with its first loop it never closes, so this is not one of uvloop's.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(rehearse())
    finally:
        loop.close()


async def rehearse() -> bytes:
    """Returns the response that a client would have got."""
    loop = asyncio.get_running_loop()
    boot = messages.decode_to_worker(_BOOT)
    assert isinstance(boot, messages.Boot)
    path = loading.path_of(boot.entrypoint)
    module = types.ModuleType(path.stem)
    exec(compile(_SOURCE, path, "exec"), module.__dict__)  # noqa: S102, the text above
    stage = gate.Gate(_nothing, _nothing, _nothing)
    stage.app = HandlerApp(module.handler)
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        lane = Lane({}, lambda: Connection(loop, stage.serve, _nothing))
        transport, _ = await loop.create_connection(lambda: lane, sock=theirs)
        await loop.sock_sendall(ours, lanes.HEADER.pack(lanes.DATA, 1, len(_REQUEST)) + _REQUEST)
        ((*_, answer),) = lanes.Frames().feed(await loop.sock_recv(ours, 4096))
        transport.close()
    return answer


def _nothing(*_: object) -> None:
    pass
