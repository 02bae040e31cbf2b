"""The runtime API of Python functions by itself: in unit tests, and as `python main.py`."""

import asyncio
import contextlib
import http.client
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import starlette.requests
import starlette.responses
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.support.types import strictly_checked

import outlast
from outlast import EdgeRuntime, Request, Response, serve
from outlast.runtime import sse
from outlast.runtime.describe import describe
from outlast.runtime.requests import MAX_AHEAD
from outlast.runtime.serving import HandlerApp


def client(handler: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(HandlerApp(handler))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://example.com")


async def _some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class TestResponse:
    @pytest.mark.parametrize(
        ("response", "status", "headers", "body"),
        [
            (Response("Grüße"), 200, {"content-type": "text/plain;charset=UTF-8", "content-length": "7"}, "Grüße"),
            (Response(b"\0", 201, {"Content-Type": "x/y"}), 201, {"content-type": "x/y", "content-length": "1"}, "\0"),
            (Response(status=204), 204, {}, ""),
            (Response(), 200, {"content-length": "0"}, ""),
            (
                Response.json({"ä": [1, None]}, status=202, headers={"X-A": "b"}),
                202,
                {"x-a": "b", "content-type": "application/json", "content-length": "15"},
                '{"ä":[1,null]}',
            ),
            (Response.redirect("/a b?c=d"), 302, {"location": "/a%20b?c=d", "content-length": "0"}, ""),
            (Response.redirect("https://example.com/", 308), 308, {"location": "https://example.com/"}, ""),
        ],
    )
    async def test_what_is_sent(self, response: Response, status: int, headers: dict[str, str], body: str) -> None:
        async with client(lambda _: response) as http_:
            answer = await http_.get("/")
        assert (answer.status_code, answer.content.decode()) == (status, body)
        assert headers.items() <= dict(answer.headers).items()
        assert set(answer.headers) - set(headers) <= {"content-length"}

    async def test_headers_may_repeat(self) -> None:
        async with client(lambda _: Response("", headers=[("Set-Cookie", "a=1"), ("set-cookie", "b=2")])) as http_:
            assert (await http_.get("/")).headers.get_list("set-cookie") == ["a=1", "b=2"]

    async def test_bodies_in_chunks(self) -> None:
        async def several() -> AsyncIterator[str | bytes]:
            yield "a"
            yield b"b"

        def plain() -> Iterator[bytes]:
            yield b"c"
            yield b"d"

        for body, text in ((several(), "ab"), (plain(), "cd"), (["e", b"f"], "ef")):
            async with client(lambda _, body=body: Response(body)) as http_:
                answer = await http_.get("/")
            assert answer.text == text
            assert "content-length" not in answer.headers

    @pytest.mark.parametrize("response", [Response, StreamingResponse])
    async def test_a_stream_made_from_the_body_as_it_arrives(
        self, response: type[Response] | type[StreamingResponse]
    ) -> None:
        async def sent() -> AsyncIterator[bytes]:
            for number in range(5):
                yield b"part %d," % number

        async def upper(request: Request) -> AsyncIterator[bytes]:
            await _some_turns()
            async for chunk in request:
                await _some_turns()
                yield chunk.upper()

        async with asyncio.timeout(10), client(lambda request: response(upper(request))) as http_:
            answer = await http_.post("/", content=sent())
        assert answer.text == "PART 0,PART 1,PART 2,PART 3,PART 4,"

    @pytest.mark.parametrize(
        ("make", "error", "text"),
        [
            (lambda: Response({"a": 1}), TypeError, "for JSON, write Response.json(...)"),
            (lambda: Response(7), TypeError, "not int"),
            (lambda: Response("x", 99), ValueError, "from 200 to 599, not 99"),
            (lambda: Response("x", 204), ValueError, "a response with status 204 has no body"),
            (lambda: Response("x", headers={"a": "b\r\nc: d"}), ValueError, "header 'a' holds a line end"),
            (lambda: Response.redirect("/", 200), ValueError, "200 does not redirect"),
            (lambda: Response.json(float("nan")), ValueError, "JSON"),
        ],
    )
    def test_what_cannot_be_sent(self, make: object, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=re.escape(text)):
            make()  # type: ignore[operator]

    @pytest.mark.parametrize(
        ("item", "text"),
        [
            ("a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"),
            ({"data": "x", "id": 1, "event": "e", "retry": 10}, "event: e\nid: 1\nretry: 10\ndata: x\n\n"),
            ({"data": [1]}, "data: [1]\n\n"),
        ],
    )
    def test_events(self, item: sse.Item, text: str) -> None:
        assert sse.encode(item) == text

    def test_a_field_of_an_event_is_one_line(self) -> None:
        with pytest.raises(ValueError, match="event of an event is one line"):
            sse.encode({"event": "a\ndata: b"})


class TestRequest:
    async def test_it_mirrors_fetch(self) -> None:
        async def handler(request: Request) -> Response:
            assert str(request.url) == "http://example.com/a%20b?x=1&x=2"
            assert (request.method, request.path, request.query.getlist("x")) == ("PUT", "/a b", ["1", "2"])
            assert request.headers["X-MULTI"] == "1"
            assert request.headers.getlist("x-multi") == ["1", "2"]
            return Response(f"{await request.text()} {await request.bytes()!r}")

        async with client(handler) as http_:
            headers = [("x-multi", "1"), ("x-multi", "2")]
            answer = await http_.put("/a%20b?x=1&x=2", content=b"\xff", headers=headers)
        assert answer.text == "\N{REPLACEMENT CHARACTER} b'\\xff'"

    async def test_disconnected_keeps_the_body_for_its_reader(self) -> None:
        asked: list[int] = []
        part = b"x" * (MAX_AHEAD // 2)
        messages = [{"type": "http.request", "body": part, "more_body": number < 4} for number in range(5)]

        async def receive() -> dict[str, object]:
            asked.append(len(asked))
            await asyncio.sleep(0)
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        request = Request({"type": "http", "headers": []}, receive)
        gone = asyncio.create_task(request.disconnected())
        await _some_turns()
        # It looks ahead only so far.
        assert asked == [0, 1]
        assert await request.bytes() == part * 5
        await gone

    @pytest.mark.parametrize("watches", [1, 2])
    @pytest.mark.parametrize("parts", [1, 2])
    @pytest.mark.parametrize("reads_at_once", [True, False])
    async def test_disconnected_does_not_hold_up_the_reader(
        self, watches: int, parts: int, reads_at_once: bool
    ) -> None:
        messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        request = Request({"type": "http", "headers": []}, messages.get)
        gone = [asyncio.create_task(request.disconnected()) for _ in range(watches)]
        await _some_turns()
        reading = asyncio.create_task(request.bytes()) if reads_at_once else None
        for part in range(1, parts + 1):
            await _some_turns()
            messages.put_nowait({"type": "http.request", "body": b"x", "more_body": part < parts})
        await _some_turns()
        async with asyncio.timeout(10):
            # The client is still there.
            assert await (reading or request.bytes()) == b"x" * parts
            assert not any(watch.done() for watch in gone)
            messages.put_nowait({"type": "http.disconnect"})
            await asyncio.gather(*gone)


class TestServe:
    def test_it_returns_the_handler_and_serves_nothing_in_a_test(self) -> None:
        def handler(request: Request) -> Response:
            return Response("ok")

        assert serve(handler) is handler
        assert serve(port=9)(handler) is handler
        with pytest.raises(TypeError, match=re.escape("serve needs a handler, a function of a request, not 7")):
            serve(7)  # type: ignore[call-overload]


class TestWaitUntil:
    async def test_in_a_loop_of_anybody(self, caplog: pytest.LogCaptureFixture) -> None:
        async def work() -> int:
            await asyncio.sleep(0)
            return 7

        async def fail() -> None:
            raise ValueError("no")

        task = EdgeRuntime.wait_until(work(), name="work")
        assert await task == 7
        with caplog.at_level(logging.ERROR, "outlast"), pytest.raises(ValueError, match="no"):
            await EdgeRuntime.wait_until(fail())
        await asyncio.sleep(0)
        assert "ValueError: no" in caplog.text

    async def test_in_the_thread_of_an_endpoint(self) -> None:
        """As with `uvicorn main:app`."""
        started = []

        async def work() -> int:
            return 7

        def endpoint(_: starlette.requests.Request) -> starlette.responses.Response:
            started.append(EdgeRuntime.wait_until(work()))
            return starlette.responses.Response()

        app = Starlette(routes=[Route("/", endpoint)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://example.com") as http_:
            await http_.get("/")
        (task,) = started
        assert isinstance(task, asyncio.Task)
        assert await task == 7


def test_importing_the_package_imports_no_server() -> None:
    code = "import sys, outlast; print([m for m in ('starlette', 'uvicorn', 'msgspec', 'asyncio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"
    assert {"serve", "EdgeRuntime"} <= set(dir(outlast))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = outlast.nothing  # type: ignore[attr-defined]


def test_errors_are_described_whatever_they_are() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    assert "Broken" in describe(Broken())
    try:
        try:
            raise ValueError("first")
        except ValueError as error:
            raise ExceptionGroup("several", [KeyError("second")]) from error
    except ExceptionGroup as error:
        text = describe(error)
    assert "ValueError: first" in text
    assert "KeyError: 'second'" in text


MAIN = """
import asyncio, threading
from outlast import EdgeRuntime, Request, Response, add_event_listener, serve

async def begin():
    print("top level", await asyncio.to_thread(lambda: "task"), flush=True)

EdgeRuntime.wait_until(begin())

@serve(port={port})
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(work(request.path), name="work")
    return Response.json(await request.json())

# Defined after the handler: `serve` does not block.
async def work(path: str) -> None:
    print("worked", path, threading.current_thread() is threading.main_thread(), flush=True)

@add_event_listener("unload")
def unload(event: object) -> None:
    print("unload", flush=True)
"""


@pytest.mark.skipif((3, 12) <= sys.version_info < (3, 12, 3), reason="this Python starts no threads at that point")
class TestStandalone:
    @pytest.fixture
    def script(self, tmp_path: Path, unused_tcp_port: int) -> Path:
        script = tmp_path / "main.py"
        script.write_text(MAIN.format(port=unused_tcp_port))
        return script

    async def test_python_main_py(self, script: Path, unused_tcp_port: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(20):
                assert await process.stdout.readline() == b"top level task\n"
                while b"Uvicorn running" not in await process.stderr.readline():
                    continue
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as http_:
                    answer = await http_.post("/x", json=[1])
                assert answer.json() == [1]
                # The server's own line about the request may come before it.
                while (line := await process.stdout.readline()) != b"worked /x True\n":
                    assert b"200 OK" in line
                process.send_signal(signal.SIGINT)
                while b"unload" not in await process.stdout.readline():
                    continue
                await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    @pytest.mark.parametrize("handler", ["imported", "functools.partial(imported)"])
    def test_a_handler_from_elsewhere(self, script: Path, unused_tcp_port: int, handler: str) -> None:
        script.with_name("elsewhere.py").write_text(
            "from outlast import Response\nasync def imported(request): return Response('ok')"
        )
        script.write_text(
            "import functools\nfrom elsewhere import imported\nfrom outlast import serve\n"
            f"serve({handler}, port={unused_tcp_port})"
        )
        with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert any(b"Uvicorn running" in line for line in process.stderr)
            process.kill()

    def test_a_script_that_fails_does_not_serve(self, script: Path, unused_tcp_port: int) -> None:
        script.write_text(script.read_text() + "raise SystemError('no')")
        ended = subprocess.run([sys.executable, script], capture_output=True, timeout=20)
        assert ended.returncode == 1
        assert b"SystemError: no" in ended.stderr
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection("127.0.0.1", unused_tcp_port).connect()


USERS_CODE = """
    import asyncio
    from collections.abc import AsyncIterator
    from concurrent.futures import ThreadPoolExecutor
    from outlast import BeforeUnloadEvent, EdgeRuntime, Request, Response, add_event_listener, serve

    async def number() -> int:
        return 1

    async def parts() -> AsyncIterator[str]:
        yield "a"

    @serve
    async def handler(request: Request) -> Response:
        task: asyncio.Task[int] = EdgeRuntime.wait_until(number(), name="n", timeout=1)
        begun: asyncio.Task[int] = EdgeRuntime.wait_until(asyncio.create_task(number()))
        future: asyncio.Future[tuple[int]] = EdgeRuntime.wait_until(asyncio.gather(number()))
        EdgeRuntime.wait_until(asyncio.to_thread(print, "x"))
        pooled: asyncio.Future[int] = EdgeRuntime.wait_until(ThreadPoolExecutor().submit(len, "x"))
        print(request.path, request.url, await request.json(), await request.text(), await request.form())
        async for chunk in request:
            print(len(chunk))
        if await task + await begun + await pooled + sum(await future):
            return Response(parts(), status=200, headers={"a": "b"})
        return Response.json({}, headers=[("a", "b")])

    @add_event_listener("beforeunload")
    def saving(event: BeforeUnloadEvent) -> None:
        print(event.detail.reason)

    @add_event_listener("unhandledrejection")
    async def rejected(event) -> None:  # type: ignore[no-untyped-def]
        event.prevent_default()

    add_event_listener("load", lambda event: print(event.type))
    EdgeRuntime.wait_until(7)  # type: ignore[call-overload]
    add_event_listener("unlaod", print)  # type: ignore[call-overload]
    from outlast import Respond  # type: ignore[attr-defined]
    from outlast.testing import SyncOutlasts  # type: ignore[attr-defined]
"""


@pytest.mark.timeout(240)  # some 8 s of CPU time, where nothing is in the cache
def test_users_code_is_checked_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "main.py").write_text(textwrap.dedent(USERS_CODE))
    assert strictly_checked(tmp_path, "main.py") == "Success: no issues found in 1 source file\n"
