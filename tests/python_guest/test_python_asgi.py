"""ASGI applications of any framework as functions: their background tasks, WebSockets, lifespan and streams."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_guest.python_worker import PythonWorker, booted

MakeFunction = Callable[[str], Path]

FASTAPI = """
from contextlib import asynccontextmanager
from fastapi import BackgroundTasks, FastAPI, Form, UploadFile, WebSocket
from starlette.requests import Request

opened = asyncio.Event()

@asynccontextmanager
async def lifespan(app):
    print("started")
    yield {"greeting": "hi"}
    print("stopped")

app = FastAPI(lifespan=lifespan)

@app.middleware("http")
async def middleware(request, call_next):
    response = await call_next(request)
    response.headers["x-middleware"] = "1"
    return response

async def store(number):
    await opened.wait()
    print("stored", number)

def mail(number):
    print("mailed", number)

async def at_once():
    print("at once")

async def fail():
    await asyncio.sleep(0)
    raise ValueError("no")

@app.get("/hello")
async def hello(request: Request, background: BackgroundTasks):
    background.add_task(store, 1)
    background.add_task(mail, 2)
    background.add_task(at_once)
    return {"greeting": request.state.greeting, "url": str(request.url)}

@app.get("/open")
async def open_():
    opened.set()

@app.get("/fails-later")
async def fails_later(background: BackgroundTasks):
    background.add_task(fail)
    background.add_task(at_once)

@app.get("/fails")
async def fails():
    raise ValueError("unexpected")

@app.post("/form")
async def form(name: str = Form(), file: UploadFile = None):
    return [name, file.filename, len(await file.read())]

@app.websocket("/hello/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    print("peer", websocket.client.host, websocket.url)
    async for text in websocket.iter_text():
        await websocket.send_text(text + "!")
    print("closed")
"""

KEEP_ALIVE = b"GET %b HTTP/1.1\r\nhost: x\r\nsb-request-id: %b\r\n\r\n"
SOCKET = (
    b"GET /hello/ws HTTP/1.1\r\nhost: example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"x-forwarded-proto: https\r\nx-outlast-peer: 203.0.113.9:4711\r\nsb-request-id: r-8\r\n\r\n"
)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next response with a Content-Length on this connection."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await asyncio.wait_for(reader.readexactly(length), 20)


class TestBackgroundTasks:
    async def test_they_outlive_the_response_and_free_its_connection(self, function: MakeFunction) -> None:
        async with booted(function(FASTAPI)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/hello", b"r-1"))
            head, body = await answer(reader)
            assert b"x-middleware: 1" in head
            assert json.loads(body) == {"greeting": "hi", "url": "http://x/hello"}
            await worker.message("task_started", task=1, name="store", request="r-1")
            assert "task_settled" not in worker.kinds
            # The same connection serves the next request while the task of the last one is open.
            writer.write(KEEP_ALIVE % (b"/open", b"r-2"))
            await answer(reader)
            for number, name in enumerate(["store", "mail", "at_once"], start=1):
                await worker.message("task_started", task=number, name=name, request="r-1")
                await worker.message("task_settled", task=number, outcome="fulfilled")
            assert (await worker.log("mailed 2"))["request"] == "r-1"
            writer.close()
        assert worker.kinds.count("task_started") == 3

    async def test_one_that_fails_harms_no_other_request(self, function: MakeFunction) -> None:
        heard = '@add_event_listener("unhandledrejection")\ndef heard(event): print("heard", event.reason)\n'
        async with booted(function(heard + FASTAPI)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/fails-later", b"r-1") + KEEP_ALIVE % (b"/open", b"r-2"))
            assert (await answer(reader))[1] == b"null"
            failed = await worker.message("task_settled", task=1, outcome="rejected")
            assert (await answer(reader))[1] == b"null"
            writer.write(KEEP_ALIVE % (b"/open", b"r-3"))
            assert (await answer(reader))[1] == b"null"
            writer.close()
        assert failed["error"].endswith("ValueError: no")
        # Starlette ends a request's further background tasks with the first that fails.
        assert worker.printed == [("info", "started"), ("info", "heard no")]

    async def test_they_do_not_need_a_client_that_waits_for_the_response(self, function: MakeFunction) -> None:
        source = """
            from starlette.applications import Starlette
            from starlette.background import BackgroundTask
            from starlette.responses import JSONResponse
            from starlette.routing import Route

            async def store():
                print("stored")

            async def slow(request):
                while not await request.is_disconnected(): await asyncio.sleep(0)
                return JSONResponse({}, background=BackgroundTask(store))

            app = Starlette(routes=[Route("/slow", slow)])
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/slow", b"r-1"))
            writer.close()
            await worker.log("stored")
            await worker.message("task_settled", outcome="fulfilled")
        assert worker.printed == [("info", "stored")]

    async def test_what_any_application_does_after_its_response(self, function: MakeFunction) -> None:
        source = """
            opened = asyncio.Event()

            async def app(scope, receive, send):
                if scope["type"] != "http": raise RuntimeError("no lifespan here")
                if scope["path"] == "/open": opened.set()
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
                await send({"type": "http.response.body", "body": b"ok"})
                if scope["path"] == "/work":
                    await opened.wait()
                    print("worked")
                if scope["path"] == "/fail":
                    await asyncio.sleep(0.01)
                    raise ValueError("no")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/work", b"r-1"))
            assert (await answer(reader))[1] == b"ok"
            await worker.message("task_started", task=1, name="GET /work", request="r-1")
            writer.write(KEEP_ALIVE % (b"/open", b"r-2") + KEEP_ALIVE % (b"/fail", b"r-3"))
            assert (await answer(reader))[1] == b"ok"
            assert (await answer(reader))[1] == b"ok"
            await worker.message("task_settled", task=1, outcome="fulfilled")
            failed = await worker.message("task_settled", task=2, outcome="rejected")
            writer.close()
        assert failed["error"].endswith("ValueError: no")
        assert worker.kinds.count("task_started") == 2

    async def test_what_names_them(self, function: MakeFunction) -> None:
        source = """
            from types import SimpleNamespace

            def orders(): pass

            async def app(scope, receive, send):
                if scope["path"] == "/starlette": scope["endpoint"] = orders
                if scope["path"] == "/litestar": scope["route_handler"] = SimpleNamespace(fn=orders)
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body"})
                await asyncio.Event().wait()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            for number, (path, name) in enumerate(
                [("/starlette", "orders"), ("/litestar", "orders"), ("/other", "GET /other")], start=1
            ):
                await worker.get(path)
                await worker.message("task_started", task=number, name=name)

    @pytest.mark.parametrize(("path", "outcome"), [(b"/work", "fulfilled"), (b"/fail", "rejected")])
    async def test_what_is_left_may_end_while_the_response_waits_for_a_slow_client(
        self, function: MakeFunction, path: bytes, outcome: str
    ) -> None:
        source = """
            opened = asyncio.Event()

            async def app(scope, receive, send):
                if scope["type"] != "http": raise RuntimeError("no lifespan here")
                await send({"type": "http.response.start", "status": 200})
                if scope["path"] == "/open":
                    opened.set()
                    await send({"type": "http.response.body", "body": b"opened"})
                    return
                # More than the sockets take before anybody reads.
                await send({"type": "http.response.body", "body": bytes(8 << 20), "more_body": True})
                await send({"type": "http.response.body", "body": b"end"})
                await opened.wait()
                if scope["path"] == "/fail": raise ValueError("no")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (path, b"r-1"))
            await worker.message("task_started", task=1, request="r-1")
            assert (await worker.get("/open", request_id="r-2")).body == b"opened"
            await worker.message("task_settled", task=1, outcome=outcome)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n800000\r\n"), 20)
            await asyncio.wait_for(reader.readexactly(8 << 20), 20)
            assert await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 20) == b"\r\n3\r\nend\r\n0\r\n\r\n"
            # The connection has not been closed: it serves the next request.
            writer.write(KEEP_ALIVE % (b"/open", b"r-3"))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 20)).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
        assert worker.printed == []


class TestWithoutItsClient:
    """What goes on when its client is gone."""

    GOES_ON = """
opened = asyncio.Event()

async def go_on(path):
    if path == "/open": opened.set()
    else:
        print("begun")
        await opened.wait()
        if path == "/fail": raise ValueError("no")
        print("saved")
"""
    HANDLER = """
@serve
async def handler(request):
    await go_on(request.path)
    return Response("ok")
"""
    STREAM = """
async def ticks(path):
    try:
        yield "tick"
        if path != "/open": await asyncio.Event().wait()
    finally:
        await go_on(path)

serve(lambda request: Response(ticks(request.path)))
"""
    APPLICATION = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await go_on(scope["path"])
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})
"""
    UNREAD = KEEP_ALIVE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 131072\r\n\r\n")
    WEBSOCKET = """
async def app(scope, receive, send):
    assert scope["type"] != "lifespan"
    await receive()
    if scope["type"] == "http":
        await go_on(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})
    else:
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        await go_on(scope["path"])
"""
    BUSY_WEBSOCKET = WEBSOCKET.replace('assert (await receive())["type"] == "websocket.disconnect"', "pass")

    @pytest.mark.parametrize(
        ("source", "head", "name"),
        [
            (HANDLER, KEEP_ALIVE % (b"/long", b"r-8"), "GET /long"),
            (STREAM, KEEP_ALIVE % (b"/long", b"r-8"), "GET /long"),
            (APPLICATION, KEEP_ALIVE % (b"/long", b"r-8"), "GET /long"),
            (HANDLER, UNREAD % (b"/long", b"r-8") + bytes(128 * 1024), "POST /long"),
            (WEBSOCKET, SOCKET, "WebSocket /hello/ws"),
            (BUSY_WEBSOCKET, SOCKET, "WebSocket /hello/ws"),
        ],
        ids=["handler", "stream", "application", "unread body", "websocket", "busy websocket"],
    )
    @pytest.mark.parametrize("told", ["abandoned", "ping"])
    async def test_it_is_a_task(self, function: MakeFunction, source: str, head: bytes, name: str, told: str) -> None:
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(head)
            if source in (self.STREAM, self.WEBSOCKET):
                await reader.readuntil(b"tick" if source == self.STREAM else b"\r\n\r\n")
            else:
                await worker.log("begun")
            writer.close()
            await writer.wait_closed()
            if told == "abandoned":
                worker.say(type="abandoned", request="r-8")
            else:
                # That is how its node asks a worker whether there is anything left to wait for.
                worker.say(type="ping", number=7, no_clients=True)
                await worker.message("pong", number=7)
                assert worker.kinds[:-1].count("task_started") == 1
            await worker.message("task_started", name=name, request="r-8")
            await worker.get("/open")
            assert (await worker.log("saved"))["request"] == "r-8"
            await worker.message("task_settled", task=1, outcome="fulfilled")
        assert worker.kinds.count("task_started") == 1

    @pytest.mark.parametrize("source", [HANDLER, APPLICATION], ids=["handler", "application"])
    async def test_it_may_fail(self, function: MakeFunction, source: str) -> None:
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/fail", b"r-8"))
            await worker.log("begun")
            writer.close()
            worker.say(type="abandoned", request="r-8")
            await worker.message("task_started", request="r-8")
            await worker.get("/open")
            failed = await worker.message("task_settled", task=1, outcome="rejected")
        assert failed["error"].endswith("ValueError: no")
        assert worker.printed == [("info", "begun")]

    @pytest.mark.parametrize("waits", [False, True])
    async def test_that_the_client_has_left_is_no_error_of_who_reads_the_body(
        self, function: MakeFunction, waits: bool
    ) -> None:
        source = f"""
            from starlette.applications import Starlette
            from starlette.requests import ClientDisconnect
            from starlette.responses import PlainTextResponse
            from starlette.routing import Route

            opened = asyncio.Event()

            async def read(request):
                print("reads")
                try:
                    await request.body()
                except ClientDisconnect:
                    print("left")
                    if {waits}: await opened.wait()
                    raise

            async def open(request):
                opened.set()
                return PlainTextResponse()

            app = Starlette(routes=[Route("/", read, methods=["POST"]), Route("/open", open)])
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-1\r\ncontent-length: 9\r\n\r\nabc")
            await worker.log("reads")
            writer.close()
            await worker.log("left")
            if waits:
                worker.say(type="abandoned", request="r-1")
                await worker.message("task_started", request="r-1")
                await worker.get("/open", request_id="r-2")
                await worker.message("task_settled", outcome="fulfilled")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert worker.printed == [("info", "reads"), ("info", "left")]
        assert ("task_started" in worker.kinds) == waits

    async def test_what_is_over_at_once_is_none(self, function: MakeFunction) -> None:
        source = """
            async def ticks():
                try:
                    yield "tick"
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    print("ended")

            serve(lambda request: Response(ticks()))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/", b"r-1"))
            await reader.readuntil(b"tick")
            writer.close()
            await worker.log("ended")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert "task_started" not in worker.kinds

    async def test_what_follows_a_task_of_the_framework(self, function: MakeFunction) -> None:
        source = """
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.routing import Route

async def ticks(path):
    yield "tick"
    if path == "/long": await asyncio.Event().wait()

stored = asyncio.Event()

async def live(request):
    path = request.url.path
    if path == "/store": stored.set()
    return StreamingResponse(ticks(path), background=BackgroundTask(store) if path == "/long" else None)

async def store(): await stored.wait()

inner = Starlette(routes=[Route("/{path}", live)])

async def app(scope, receive, send):
    try:
        await inner(scope, receive, send)
    finally:
        if scope["path"] in ("/long", "/open"): await go_on(scope["path"])
"""
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/long", b"r-8"))
            await reader.readuntil(b"tick")
            writer.close()
            await worker.message("task_started", task=1, name="store", request="r-8")
            worker.say(type="abandoned", request="r-8")
            worker.say(type="ping", number=7)
            await worker.message("pong")
            await worker.get("/store")
            await worker.message("task_settled", task=1, outcome="fulfilled")
            # The node knew of what follows before it could take this for all.
            tasks = [(message["type"], message["task"]) for message in worker.messages if "task" in message]
            assert tasks[-2:] == [("task_started", 2), ("task_settled", 1)]
            await worker.message("task_started", task=2, name="live", request="r-8")
            await worker.get("/open")
            await worker.log("saved")
            await worker.message("task_settled", task=2, outcome="fulfilled")

    @pytest.mark.parametrize("told", [True, False], ids=["left", "closed"])
    async def test_a_websocket_that_does_not_receive(self, function: MakeFunction, told: bool) -> None:
        async with booted(function(self.GOES_ON + self.BUSY_WEBSOCKET)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(SOCKET)
            await worker.log("begun")
            if told:
                # Behind a message that nobody receives, nothing is read, nor the end of the connection noticed.
                writer.write(b"\x81\x82\0\0\0\0hi")
                writer.close()
                worker.say(type="abandoned", request="r-8")
            else:
                writer.write(b"\x88\x80\0\0\0\0")
            await worker.message("task_started", name="WebSocket /hello/ws", request="r-8")
            writer.close()

    async def test_a_request_may_come_after_the_news(self, function: MakeFunction) -> None:
        source = """
import pathlib

@serve
async def handler(request):
    if request.path == "/block":
        print("blocked")
        while not pathlib.Path(__file__).with_name("go").exists(): pass
    else:
        await go_on(request.path)
    return Response("ok")
"""
        entrypoint = function(self.GOES_ON + source)
        async with booted(entrypoint) as worker:
            await worker.message("ready")
            _, blocking = await worker.connect()
            _, writer = await worker.connect()
            blocking.write(KEEP_ALIVE % (b"/block", b"r-1"))
            await worker.log("blocked")
            worker.say(type="abandoned", request="r-8")
            await worker.writer.drain()
            writer.write(KEEP_ALIVE % (b"/long", b"r-8"))
            await writer.drain()
            writer.close()
            entrypoint.with_name("go").touch()
            await worker.message("task_started", name="GET /long", request="r-8")
            blocking.close()

    BARE = """
            async def app(scope, receive, send):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.accept"})
                    try:
                        while True:
                            await send({"type": "websocket.send", "text": "tick"})
                            await asyncio.sleep(0.001)
                    finally:
                        print("ended")
    """
    STARLETTE = """
            from starlette.applications import Starlette
            from starlette.routing import WebSocketRoute

            async def ticks(websocket):
                await websocket.accept()
                try:
                    while True:
                        await websocket.send_text("tick")
                        await asyncio.sleep(0.001)
                finally:
                    print("ended")

            app = Starlette(routes=[WebSocketRoute("/hello/ws", ticks)])
    """
    LISTENING = STARLETTE.replace("asyncio.sleep(0.001)", "websocket.receive_text()")

    @pytest.mark.parametrize("source", [BARE, STARLETTE, LISTENING], ids=["bare", "starlette", "listening"])
    async def test_a_websocket_that_does_not_care(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(SOCKET)
            await reader.readuntil(b"tick")
            writer.close()
            await worker.log("ended")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert not [message for message in worker.messages if message.get("outcome") == "rejected"]
        # That the client has left is no error of an application that does not care.
        assert worker.printed == [("info", "ended")]


class TestCompleteBeforeItsEnd:
    """Responses that the client has as a whole before the application says that this was all."""

    SOURCE = """
        from starlette.applications import Starlette
        from starlette.responses import StreamingResponse
        from starlette.routing import Route

        async def ticks(waits):
            while True:
                yield "tick"
                if waits: await asyncio.Event().wait()

        async def live(request):
            return StreamingResponse(ticks(request.query_params.get("waits")))

        opened = asyncio.Event()

        async def pieces():
            yield "ok"
            await opened.wait()
            print("stored")

        async def announced(request):
            return StreamingResponse(pieces(), headers={"content-length": "2"})

        async def release(request):
            opened.set()
            return StreamingResponse(iter(["ok"]), headers={"content-length": "2"})

        app = Starlette(routes=[Route("/live", live), Route("/announced", announced), Route("/open", release)])
    """

    @pytest.mark.parametrize("path", [b"/live?waits=1", b"/live"])
    async def test_an_endless_stream_is_not_kept_up_for_head(self, function: MakeFunction, path: bytes) -> None:
        async with booted(function(self.SOURCE)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE.replace(b"GET", b"HEAD") % (path, b"r-1"))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.write(KEEP_ALIVE % (b"/open", b"r-2"))
            assert (await answer(reader))[1] == b"ok"
            await worker.message("task_settled", task=1, outcome="fulfilled")
            writer.close()
        assert worker.printed == []

    async def test_what_a_stream_does_behind_its_last_byte_is_a_task(self, function: MakeFunction) -> None:
        async with booted(function(self.SOURCE)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(KEEP_ALIVE % (b"/announced", b"r-1"))
            assert (await answer(reader))[1] == b"ok"
            await worker.message("task_started", task=1, name="announced", request="r-1")
            writer.write(KEEP_ALIVE % (b"/open", b"r-2"))
            assert (await answer(reader))[1] == b"ok"
            await worker.message("task_settled", task=1, outcome="fulfilled")
            writer.close()
        assert worker.printed == [("info", "stored")]


class TestEcho:
    """A stream, in most cases of Starlette, that reads the body of its request while it is sent."""

    SOURCE = """
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.responses import StreamingResponse
        from starlette.routing import Route

        async def pieces(request):
            try:
                if request.query_params.get("waits"):
                    yield b"waits"
                    await asyncio.Event().wait()
                # Whoever else receives gets the first piece.
                for _ in range(9):
                    await asyncio.sleep(0)
                async for piece in request.stream():
                    yield piece
            finally:
                print("ended")

        async def echo(request):
            return StreamingResponse(pieces(request))

        async def pass_on(request, call_next):
            return await call_next(request)

        app = Starlette(routes=[Route("/", echo, methods=["POST"])])
    """
    LAYERED = SOURCE.replace(
        'methods=["POST"])]', 'methods=["POST"])], middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)]'
    )
    OWN = SOURCE.replace("return StreamingResponse(", "return Response(")
    HANDLER = (
        SOURCE[: SOURCE.index("async def echo")].replace("_params", "").replace(".stream()", "")
        + """
        serve(lambda request: Response(pieces(request)))
    """
    )
    HEAD = b"POST /%b HTTP/1.1\r\nhost: x\r\nsb-request-id: r-1\r\ntransfer-encoding: chunked\r\n\r\n"

    @pytest.mark.parametrize("source", [SOURCE, LAYERED, OWN], ids=["plain", "middleware", "own response"])
    async def test_it_gets_every_piece(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(self.HEAD % b"" + b"3\r\none\r\n")
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n3\r\none\r\n"), 20)
            for piece in (b"3\r\ntwo\r\n", b"5\r\nthree\r\n", b"0\r\n\r\n"):
                writer.write(piece)
                assert await asyncio.wait_for(reader.readexactly(len(piece)), 20) == piece
            await worker.log("ended")
            writer.close()
        assert worker.printed == [("info", "ended")]

    @pytest.mark.parametrize("source", [SOURCE, LAYERED, HANDLER], ids=["plain", "middleware", "handler"])
    @pytest.mark.parametrize(
        ("query", "first"), [(b"", b"one"), (b"?waits=1", b"waits")], ids=["who reads", "who waits for something else"]
    )
    async def test_it_ends_when_its_client_leaves(
        self, function: MakeFunction, source: str, query: bytes, first: bytes
    ) -> None:
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(self.HEAD % query + b"3\r\none\r\n")
            await asyncio.wait_for(reader.readuntil(b"\r\n%b\r\n" % first), 20)
            writer.close()
            await worker.log("ended")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert worker.printed == [("info", "ended")]
        assert "task_started" not in worker.kinds


class TestErrors:
    async def test_an_application_that_raises(self, function: MakeFunction) -> None:
        async with booted(function(FASTAPI)) as worker:
            await worker.message("ready")
            response = await worker.get("/fails", request_id="r-9")
            error = await worker.message("log", level="error", request="r-9")
        assert (response.status, response.body) == (500, b"Internal Server Error")
        assert error["text"].endswith("ValueError: unexpected")
        assert "task_started" not in worker.kinds

    async def test_a_bare_one_that_raises(self, function: MakeFunction) -> None:
        async with booted(function("async def app(scope, receive, send): raise ValueError('bare')")) as worker:
            await worker.message("ready")
            response = await worker.get()
            error = await worker.message("log", level="error")
        assert (response.status, response.headers["sb-error-code"]) == (500, "HANDLER_ERROR")
        assert error["text"].endswith("ValueError: bare")
        assert worker.kinds.count("log") == 1

    async def test_one_that_answers_nothing(self, function: MakeFunction) -> None:
        async with booted(function("async def app(scope, receive, send): pass")) as worker:
            await worker.message("ready")
            response = await worker.get(request_id="r-8")
            error = await worker.message("log", level="error", request="r-8")
        assert (response.status, response.headers["sb-error-code"]) == (500, "HANDLER_ERROR")
        assert error["text"] == "the application has returned without a complete response"


async def test_lifespan(function: MakeFunction) -> None:
    async with booted(function(FASTAPI)) as worker:
        await worker.message("ready")
        worker.say(type="exit")
        assert (await worker.ended())[0] == 0
    assert worker.printed == [("info", "started"), ("info", "stopped")]


@pytest.mark.parametrize("when", ["shutdown", "at once"])
@pytest.mark.parametrize("says", [True, False])
async def test_a_lifespan_that_fails(function: MakeFunction, when: str, says: bool) -> None:
    source = f"""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({{"type": "lifespan.startup.complete"}})
                if "{when}" == "shutdown": await receive()
                if {says}: await send({{"type": "lifespan.shutdown.failed", "message": "no"}})
                raise ValueError("no")
    """
    async with booted(function(source)) as worker:
        await worker.message("ready")
        worker.say(type="exit")
        assert (await worker.ended())[0] == 0
        assert (await worker.message("uncaught"))["error"].splitlines()[-1] == "ValueError: no"
    # It is told of once.
    assert worker.printed == []


async def test_websocket(function: MakeFunction) -> None:
    async with booted(function(FASTAPI)) as worker:
        await worker.message("ready")
        reader, writer = await worker.connect()
        writer.write(SOCKET)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        writer.write(b"\x81\x82\0\0\0\0hi")
        assert await reader.readexactly(5) == b"\x81\x03hi!"
        assert (await worker.log("peer 203.0.113.9 wss://example.com/hello/ws"))["request"] == "r-8"
        writer.write(b"\x88\x80\0\0\0\0")
        await worker.log("closed")
        writer.close()
    assert "task_started" not in worker.kinds


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("await receive()", "ASGI callable returned without completing handshake."),
    ],
)
async def test_an_application_that_fails_at_a_websocket(function: MakeFunction, body: str, line: str) -> None:
    source = f"""
        logger = logging.getLogger("uvicorn.error")

        async def app(scope, receive, send):
            if scope["type"] == "websocket":
                logger.info("the application's own")
                {body}
    """
    async with booted(function(source)) as worker:
        await worker.message("ready")
        assert (await worker.ask(SOCKET)).startswith(b"HTTP/1.1 500 ")
        error = await worker.message("log", level="error", request="r-8")
    assert error["text"].splitlines()[-1] == line
    assert [level for level, _ in worker.printed] == ["info", "error"]


async def test_a_websocket_that_an_application_answers_otherwise(function: MakeFunction) -> None:
    source = """
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import WebSocketRoute

        async def refuse(websocket): raise HTTPException(418)

        app = Starlette(routes=[WebSocketRoute("/hello/ws", refuse)])
    """
    async with booted(function(source)) as worker:
        await worker.message("ready")
        assert (await worker.ask(SOCKET)).startswith(b"HTTP/1.1 418 ")
        worker.say(type="ping", number=7)
        await worker.message("pong", number=7)
    # That is no error.
    assert worker.printed == []


async def test_multipart_form(function: MakeFunction) -> None:
    form = (
        b'--x\r\ncontent-disposition: form-data; name="name"\r\n\r\nAda\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
        + b"z" * 100_000
        + b"\r\n--x--\r\n"
    )
    async with booted(function(FASTAPI)) as worker:
        await worker.message("ready")
        head = b"POST /form HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        raw = await worker.ask(head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(form) + form)
    assert json.loads(raw.partition(b"\r\n\r\n")[2]) == ["Ada", "f.txt", 100_000]


async def test_headers_that_can_be_gone_through_only_once(function: MakeFunction) -> None:
    """As Sanic sends them."""
    source = """
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            kind = {"/lists": list, "/tuples": tuple}[scope["path"]]
            headers = (kind(field) for field in {b"x-first": b"1", b"content-length": b"2"}.items())
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})
    """
    async with booted(function(source)) as worker:
        await worker.message("ready")
        for path in ("/lists", "/tuples"):
            response = await worker.get(path)
            assert (response.headers["x-first"], response.headers["content-length"]) == ("1", "2")
            assert response.body == b"ok"


async def test_server_sent_events(function: MakeFunction) -> None:
    source = """
        async def events():
            yield "one\\nmore"
            yield {"event": "tick", "id": 7, "data": {"n": 1}}

        serve(lambda request: Response.events(events()))
    """
    async with booted(function(source)) as worker:
        await worker.message("ready")
        response = await worker.get()
    assert response.headers["content-type"] == "text/event-stream"
    assert response.body == b'data: one\ndata: more\n\nevent: tick\nid: 7\ndata: {"n": 1}\n\n'


async def test_large_bodies_do_not_gather_in_memory(function: MakeFunction) -> None:
    source = """
        import resource

        async def download(size):
            for _ in range(size // 65536): yield b"x" * 65536

        @serve
        async def handler(request):
            if size := request.query.get("size"):
                return Response(download(int(size)))
            asyncio.get_running_loop().create_task(request.disconnected())
            total = sum([len(chunk) async for chunk in request])
            return Response.json([total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
    """
    may_grow_mib = 16
    size = 16 * may_grow_mib << 20
    async with booted(function(source)) as worker:
        await worker.message("ready")
        before = await upload(worker, 1 << 20)
        after = await upload(worker, size)
        assert (before[0], after[0]) == (1 << 20, size)
        reader, writer = await worker.connect()
        writer.write(b"GET /?size=%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % (size // 4))
        received = 0
        while chunk := await reader.read(1 << 20):
            received += len(chunk)
        writer.close()
        assert received > size // 4
        end = await upload(worker, 1 << 20)
    assert end[1] - before[1] < may_grow_mib << 10


async def upload(worker: PythonWorker, size: int) -> list[int]:
    reader, writer = await worker.connect()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
    chunk = b"x" * (1 << 18)
    for _ in range(size // len(chunk)):
        writer.write(chunk)
        await writer.drain()
    raw = await reader.read()
    writer.close()
    result: list[int] = json.loads(raw.partition(b"\r\n\r\n")[2])
    return result
