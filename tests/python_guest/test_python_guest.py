"""What a function finds in its Python worker, seen from the node's end of the sockets: its boot and its requests."""

import asyncio
import json
import os
import queue
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.deno_worker import UPGRADE
from tests.python_guest.python_worker import booted, standby

from outlast.runtime import hints

MakeFunction = Callable[[str], Path]

HELD_UP = """
import select, signal, sys
from outlast.engines.python import guest

class HeldUp(guest.Guest):
    # On a machine without time for it: the node has spoken, with all signals that tell of it, before its next step.
    def __init__(self, *args):
        super().__init__(*args)
        print("made")
        select.select([self._channel._socket], [], [])
        signal.raise_signal(signal.SIGALRM)

guest.Guest = HeldUp
sys.path.insert(0, sys.argv[2])
guest.main(sys.argv[1], lambda: print("sealed"), keeps=False)
"""

OK = "serve(lambda request: Response('ok'))\n"


class TestReady:
    @pytest.mark.parametrize(
        "source",
        [
            "@serve\nasync def handler(request): return Response('ok')",
            "@serve()\ndef handler(request): return Response('ok')",
            "serve(lambda request: Response('ok'), port=9)",
            "class Handler:\n    async def __call__(self, request): return Response('ok')\nserve(Handler())",
            "async def handler(request): return Response('ok')\nserve(lambda request: handler(request))",
            "from starlette.responses import PlainTextResponse\n"
            "async def app(scope, receive, send): await PlainTextResponse('ok')(scope, receive, send)",
            "from starlette.responses import PlainTextResponse\nserve(lambda request: PlainTextResponse('ok'))",
            "async def later(): serve(lambda request: Response('ok'))\nEdgeRuntime.wait_until(later())",
        ],
    )
    async def test_every_form_of_serving(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            assert await worker.message("ready") == {"type": "ready"}
            answer = await worker.get()
        assert (answer.status, answer.body) == (200, b"ok")

    async def test_standby_has_not_read_the_code_yet(self, function: MakeFunction) -> None:
        entrypoint = function("serve(lambda request: Response('old'))")
        async with standby(entrypoint) as worker:
            function("serve(lambda request: Response('new'))")
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get()).body == b"new"

    async def test_no_code_of_the_function_runs_before_the_worker_listens_and_is_sealed(
        self, function: MakeFunction
    ) -> None:
        async def held_up(folder: Path, entrypoint: Path, *_: object) -> asyncio.subprocess.Process:
            arguments = ["-c", HELD_UP, str(folder), str(entrypoint.parent)]
            return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)

        entrypoint = function("print('evaluated')\n" + OK)
        async with standby(entrypoint, start=held_up) as worker:
            await worker.log("made")
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get()).body == b"ok"
        assert [text for _, text in worker.printed] == ["made", "sealed", "evaluated"]

    async def test_modules_around_it_can_be_imported(self, function: MakeFunction, tmp_path: Path) -> None:
        (tmp_path / "_shared").mkdir()
        (tmp_path / "_shared/texts.py").write_text("greeting = 'shared'")
        entrypoint = function(
            "import helper\nfrom _shared.texts import greeting\n"
            "serve(lambda request: Response(f'{greeting} {helper.name} {__name__} {__file__}'))"
        )
        (tmp_path / "hello/helper.py").write_text("import main\nname = main.__name__")
        async with booted(entrypoint) as worker:
            await worker.message("ready")
            assert (await worker.get()).body.decode() == f"shared main main {entrypoint}"
        assert {*os.listdir(tmp_path / "hello")} == {"helper.py", "main.py"}  # noqa: PTH208

    async def test_the_last_handler_wins_and_load_comes_first(self, function: MakeFunction) -> None:
        source = """
            add_event_listener("load", lambda event: print(event.type))
            serve(lambda request: Response("first"))
            serve(lambda request: Response("last"))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get()).body == b"last"
        (_, warned), loaded = worker.printed
        assert warned.startswith("serve was called again")
        assert loaded == ("info", "load")
        assert worker.kinds == ["log", "log", "ready"]


class TestBootFailure:
    @pytest.mark.parametrize(
        ("source", "first", "last"),
        [
            (
                OK + "def work(): raise ValueError('nothing here')\nwork()",
                'Traceback (most recent call last):\n  File "',
                "ValueError: nothing here",
            ),
            ("def = 1", '  File "', "SyntaxError: invalid syntax"),
            ("import missing_module", "Traceback", f"hint: {hints.PACKAGE}"),
            ("from .missing import module", "Traceback", f"hint: {hints.PARENT}"),
            (
                "try: import missing_module\nexcept ImportError: raise ValueError('instead') from None",
                "Traceback",
                "ValueError: instead",
            ),
            ("class Batch(Exception): exceptions = {'url': 1}\nraise Batch('no')", "Traceback", "main.Batch: no"),
            ("nothing = 1", "hello/main.py serves nothing: call serve(handler), or ", None),
            (
                "from starlette.applications import Starlette\n"
                "class Scheme:\n  async def __call__(self, request): pass\n"
                "scheme = Scheme()\napi = Starlette()",
                "hello/main.py serves nothing: call serve(handler), or define an ASGI application `app` (FastAPI, "
                "Starlette). Its application is called `api`: app = api",
                None,
            ),
            (
                # As gevent does, with much else.
                "import _thread\ndef start_new_thread(*_): pass\n_thread.start_new_thread = start_new_thread\n"
                "sys.modules['gevent.monkey'] = sys\n" + OK,
                "RuntimeError: gevent or eventlet has replaced threads (monkey.patch_all())",
                None,
            ),
            ("app = 1", "`app` in hello/main.py is of type int, which is no ASGI application", None),
            (
                "class Flask:\n  def wsgi_app(self): pass\n  def __call__(self, environ, start): pass\napp = Flask()",
                "`app` in hello/main.py is a WSGI application",
                None,
            ),
            ("def app(environ, start_response): return []", "`app` in hello/main.py is a WSGI application", None),
        ],
    )
    async def test_the_node_is_told_why(
        self, function: MakeFunction, source: str, first: str, last: str | None
    ) -> None:
        async with booted(function("print('one')\nprint('two', end='')\n" + source)) as worker:
            failure = await worker.message("boot_failed")
            assert (await worker.ended())[0] == 1
        error = failure["error"]
        assert error.startswith(first)
        assert last is None or error.splitlines()[-1] == last
        assert "importlib" not in error
        assert "engines/python" not in error
        # What does not compile has printed nothing.
        assert worker.kinds in (["log", "log", "boot_failed"], ["boot_failed"])

    @pytest.mark.parametrize("code", ["from queue import enqueue", "import queue\nqueue.enqueue()"])
    async def test_a_file_with_the_name_of_a_module_that_is_loaded_already(
        self, function: MakeFunction, code: str
    ) -> None:
        entrypoint = function(code)
        entrypoint.with_name("queue.py").write_text("def enqueue(): pass")
        async with booted(entrypoint) as worker:
            failure = await worker.message("boot_failed")
        assert failure["error"].splitlines()[-1] == f"hint: {hints.TAKEN.format(own='queue.py', loaded=queue.__file__)}"

    async def test_an_application_whose_startup_fails(self, function: MakeFunction) -> None:
        source = """
            import contextlib
            from starlette.applications import Starlette

            @contextlib.asynccontextmanager
            async def lifespan(app):
                raise RuntimeError("no database")
                yield

            app = Starlette(lifespan=lifespan)
        """
        async with booted(function(source)) as worker:
            failure = await worker.message("boot_failed")
            assert (await worker.ended())[0] == 1
        assert failure["error"].rstrip().endswith("RuntimeError: no database")

    async def test_a_module_that_exits(self, function: MakeFunction) -> None:
        async with booted(function("print('bye')\nsys.exit('no key')")) as worker:
            failure = await worker.message("boot_failed")
            assert (await worker.ended())[0] == 1
        assert failure["error"].rstrip().endswith("SystemExit: no key")
        assert worker.printed == [("info", "bye")]


class TestRequest:
    async def test_url_host_and_client_are_those_the_client_sees(self, function: MakeFunction) -> None:
        source = """serve(lambda request: Response.json([
            str(request.url), request.path, request.query.getlist("b"), list(request.client or ()),
            list(request.scope["server"]), request.headers["HOST"], request.method,
        ]))"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            seen = json.loads((await worker.get("/hello/a%20b?b=c&b=d")).body)
            assert seen == [
                *("https://example.com:8443/hello/a%20b?b=c&b=d", "/hello/a b", ["c", "d"]),
                *(["203.0.113.9", 4711], ["example.com", 8443], "example.com:8443", "GET"),
            ]
            local = {"x-forwarded-proto": "http", "x-outlast-peer": "[::1]:80", "host": "localhost"}
            seen = json.loads((await worker.get("/hello", **local)).body)
            assert (seen[0], seen[3], seen[4]) == ("http://localhost/hello", ["::1", 80], ["localhost", 80])

    @pytest.mark.parametrize(
        ("handler", "status", "code", "line"),
        [
            ("def handler(request): raise ValueError('thrown')", 500, "HANDLER_ERROR", "ValueError: thrown"),
            ("async def handler(request): raise ValueError('late')", 500, "HANDLER_ERROR", "ValueError: late"),
            (
                "async def handler(request):\n  work = asyncio.ensure_future(asyncio.Event().wait())\n"
                "  work.cancel()\n  await work",
                *(500, "HANDLER_ERROR", "asyncio.exceptions.CancelledError"),
            ),
            ("def handler(request):\n  breakpoint()\n  pass", 500, "HANDLER_ERROR", f"hint: {hints.TERMINAL}"),
            ("def handler(request): input()", 500, "HANDLER_ERROR", f"hint: {hints.TERMINAL}"),
            ("def handler(request): raise KeyboardInterrupt", 500, "HANDLER_ERROR", "KeyboardInterrupt"),
            ("async def handler(request): pass", 502, "BAD_RESPONSE", "handler returned None, not a Response"),
            ("def handler(request): return 'text'", 502, "BAD_RESPONSE", "handler returned 'text', not a Response"),
        ],
    )
    async def test_a_handler_that_fails(
        self, function: MakeFunction, handler: str, status: int, code: str, line: str
    ) -> None:
        async with booted(function(f"{handler}\nserve(handler)")) as worker:
            await worker.message("ready")
            answer = await worker.get(request_id="r-7")
            log = await worker.message("log", level="error", request="r-7")
        assert (answer.status, answer.headers["sb-error-code"]) == (status, code)
        assert answer.body == {500: b"Internal Server Error", 502: b"Bad Gateway"}[status]
        assert log["text"].splitlines()[-1] == line
        if status == 500:
            # The first frame is the handler's.
            assert log["text"].splitlines()[1].endswith("in handler")

    async def test_a_body_that_fails_is_cut(self, function: MakeFunction) -> None:
        source = """
            async def body():
                yield "some"
                raise ValueError("no more")

            serve(lambda request: Response(body()))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            answer = await worker.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            log = await worker.message("log", level="error")
        assert answer.endswith(b"\r\n4\r\nsome\r\n")
        assert log["text"].endswith("ValueError: no more")

    async def test_reading_the_body(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                match request.path:
                    case "/json": return Response.json([await request.json(), await request.text()])
                    case "/bytes": return Response.json(list(await request.bytes()))
                    case "/form":
                        form = await request.form()
                        return Response.json([form["a"], (await form["f"].read()).decode(), form["f"].filename])
                    case _: return Response.json([len(chunk) async for chunk in request])
        """
        form = (
            b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n'
            b'--x\r\ncontent-disposition: form-data; name="f"; filename="f.txt"\r\n\r\nfile\r\n--x--\r\n'
        )
        async with booted(function(source)) as worker:
            await worker.message("ready")

            async def post(path: bytes, body: bytes, kind: bytes = b"text/plain") -> object:
                head = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
                answer = await worker.ask(head % (path, kind, len(body)) + b"\r\n" + body)
                return json.loads(answer.partition(b"\r\n\r\n")[2])

            assert await post(b"/json", b'{"a": 1}') == [{"a": 1}, '{"a": 1}']
            assert await post(b"/bytes", b"\0\xff") == [0, 255]
            assert await post(b"/form", form, b"multipart/form-data; boundary=x") == ["1", "file", "f.txt"]
            assert sum(await post(b"/chunks", b"x" * 300_000)) == 300_000  # type: ignore[call-overload]

    async def test_disconnected_beside_the_reading_of_the_body(self, function: MakeFunction) -> None:
        source = """
            from outlast import ClientDisconnect

            async def watch(request):
                await request.disconnected()
                print("gone")

            @serve
            async def handler(request):
                EdgeRuntime.wait_until(watch(request))
                await asyncio.sleep(0)
                print("read", len(await anext(aiter(request))))
                try:
                    async for _ in request: pass
                except ClientDisconnect:
                    print("cut")
                    raise
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
            await worker.log("read 4")
            writer.close()
            await worker.log("gone")
            await worker.log("cut")
        assert "error" not in {level for level, _ in worker.printed}

    @pytest.mark.parametrize("response", ["Response", "StreamingResponse"])
    async def test_a_stream_made_from_the_body_as_it_arrives(self, function: MakeFunction, response: str) -> None:
        source = f"""
            from starlette.responses import StreamingResponse

            async def upper(request):
                async for chunk in request: yield chunk.upper()

            serve(lambda request: {response}(upper(request)))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n")
            for part in (b"one, ", b"two, ", b"three", b", end"):
                writer.write(part)
                await asyncio.wait_for(reader.readuntil(part.upper()), 20)
            writer.close()

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-4\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-4\r\ncontent-length: 100\r\n\r\nnobody reads this",
            b"POST / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-4\r\ncontent-length: 900000\r\n\r\n" + b"x" * 300_000,
        ],
        ids=["without a body", "with a part of one", "with more of one than is kept"],
    )
    @pytest.mark.parametrize(
        ("response", "waits"),
        [("Response", True), ("Response", False), ("Response.events", False), ("StreamingResponse", True)],
    )
    async def test_a_stream_ends_when_its_client_is_gone(
        self, function: MakeFunction, request_: bytes, response: str, waits: bool
    ) -> None:
        source = f"""
            from starlette.responses import StreamingResponse

            async def ticks():
                try:
                    while True:
                        yield "tick"
                        if {waits}: await asyncio.sleep(0.001)
                finally:
                    print("ended")

            serve(lambda request: {response}(ticks()))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(request_)
            await reader.readuntil(b"tick")
            writer.transport.abort()
            assert (await worker.log("ended"))["request"] == "r-4"

    @pytest.mark.parametrize("response", ["Response", "Response.events"])
    async def test_so_does_one_that_comes_from_a_thread(self, function: MakeFunction, response: str) -> None:
        source = f"""
            def ticks():
                try:
                    while True:
                        yield "tick"
                finally:
                    print("ended", threading.current_thread() is threading.main_thread())

            serve(lambda request: {response}(ticks()))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-4\r\n\r\n")
            await reader.readuntil(b"tick")
            writer.transport.abort()
            assert (await worker.log("ended False"))["request"] == "r-4"

    async def test_so_does_one_that_its_client_leaves_while_it_is_at_work(self, function: MakeFunction) -> None:
        source = """
            at_work, let_go = threading.Event(), threading.Event()

            def ticks():
                try:
                    yield "tick"
                    at_work.set()
                    let_go.wait()
                    yield "tock"
                finally:
                    print("ended")

            def handler(request):
                if request.url.path == "/ticks":
                    return Response(ticks())
                let_go.set() if request.url.path == "/go" else at_work.wait()
                return Response("ok")

            serve(handler)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(b"GET /ticks HTTP/1.1\r\nhost: x\r\nsb-request-id: r-5\r\n\r\n")
            await reader.readuntil(b"tick")
            await worker.ask(b"GET /at-work HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            writer.transport.abort()
            await worker.ask(b"GET /go HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await worker.log("ended"))["request"] == "r-5"
            assert [text for level, text in worker.printed if level == "error"] == []

    async def test_websockets_are_for_applications(self, function: MakeFunction) -> None:
        async with booted(function(OK)) as worker:
            await worker.message("ready")
            answer = await worker.ask(UPGRADE + b"\r\n")
            await worker.message("log", level="error")
        assert answer.startswith(b"HTTP/1.1 403 ")
