"""What a function finds in its Deno worker, seen from the node's end of the sockets."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.deno_worker import DenoWorker, booted, standby

from outlast.wire import messages

SEEDS = Path(__file__).parents[1] / "fixtures/seeds/supabase/functions"

MakeFunction = Callable[[str], Path]


@pytest.fixture
def function(tmp_path: Path) -> MakeFunction:
    """Writes the file of a function called ``hello`` and returns its path."""

    def make(source: str) -> Path:
        folder = tmp_path / "hello"
        folder.mkdir(exist_ok=True)
        (folder / "index.ts").write_text(source)
        return folder / "index.ts"

    return make


class TestReady:
    @pytest.mark.parametrize(
        "source",
        [
            "Deno.serve(() => new Response('ok'))",
            "Deno.serve({ port: 9 }, () => new Response('ok'))",
            "Deno.serve({ port: 9, handler: () => new Response('ok') })",
            "Deno.serve({ text: 'ok', fetch() { return new Response(this.text) } } as any)",
            "Deno.serve(() => new Response('ok')); await new Promise(() => {})",
            "await Promise.resolve(); setTimeout(() => Deno.serve(async () => new Response('ok')), 1)",
            "export default { text: 'ok', fetch() { return new Response(this.text) } }",
            "import { serve } from 'https://deno.land/std@0.168.0/http/server.ts';"
            "serve(() => new Response('ok'), { port: 9 })",
        ],
    )
    async def test_every_form_of_serving(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            assert await worker.message("ready") == {"type": "ready"}
            answer = await worker.get()
        assert (answer.status, answer.body) == (200, b"ok")

    async def test_standby_evaluates_nothing(self, function: MakeFunction) -> None:
        entrypoint = function("Deno.serve(() => new Response('old'))")
        async with standby(entrypoint) as worker:
            function("Deno.serve(() => new Response('new'))")
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get()).body in (b"old", b"new")
            assert [message["type"] for message in worker.messages] == ["ready"]

    async def test_the_function_is_the_main_module(self, function: MakeFunction) -> None:
        source = "if (import.meta.main) Deno.serve(() => new Response(import.meta.url))"
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get()).body.endswith(b"/hello/index.ts")

    async def test_what_serves_nothing_is_told_so(self, function: MakeFunction) -> None:
        async with booted(function("export const nothing = 1")) as worker:
            warning = await worker.message("log", level="warning")
        assert warning["text"].startswith("hello/index.ts was evaluated, but serves nothing yet")

    async def test_returned_server(self, function: MakeFunction) -> None:
        source = """
          const asked = new AbortController();
          const server = Deno.serve({
            port: 1234, signal: asked.signal, onListen: ({ port }) => console.log("listens on", port),
          }, (req) => {
            if (req.url.endsWith("stop")) asked.abort();
            return Response.json(server.addr);
          });
          server.finished.then(() => console.log("finished"));
        """
        async with booted(function(source)) as worker:
            await worker.log("listens on 1234")
            await worker.message("ready")
            address = json.loads((await worker.get("/stop")).body)
            assert address == {"transport": "tcp", "hostname": "0.0.0.0", "port": 1234}
            await worker.log("finished")
            assert (await worker.get()).status == 503


class TestBootFailure:
    @pytest.mark.parametrize(
        "source",
        [
            "Deno.serve(() => new Response('ok')); throw new Error('nothing here')",
            "await new Promise((done) => setTimeout(done)); throw new Error('nothing here')",
            "addEventListener('unhandledrejection', (e) => e.preventDefault()); throw new Error('nothing here')",
            "addEventListener('error', (e) => e.preventDefault()); await 1; throw new Error('nothing here')",
        ],
    )
    async def test_a_module_that_throws(self, function: MakeFunction, source: str) -> None:
        async with booted(function("console.log('one'); console.log('two');\n" + source)) as worker:
            failure = await worker.message("boot_failed")
            assert failure["error"].startswith("Error: nothing here\n    at file:///")
            assert (await worker.ended())[0] == 1
        assert [message["type"] for message in worker.messages] == ["log", "log", "boot_failed"]

    @pytest.mark.parametrize("source", ["const = 1", "import './missing.ts'"])
    async def test_a_module_that_does_not_compile(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            code, err = await worker.ended()
        assert code == 1
        assert "index.ts" in err

    async def test_a_lost_rejection_during_evaluation_is_no_boot_failure(self, function: MakeFunction) -> None:
        source = "Promise.reject(new Error('lost')); await new Promise((done) => setTimeout(done, 1));"
        async with booted(function(source + "Deno.serve(() => new Response())")) as worker:
            assert (await worker.message("uncaught"))["error"].startswith("Error: lost")
            await worker.message("ready")


class TestRequest:
    async def test_url_and_peer_are_those_of_the_client(self, function: MakeFunction) -> None:
        source = """Deno.serve((req, info) => Response.json([
          req.url, req.clone().url, new Request(req, { method: "PUT" }).url, info.remoteAddr,
        ]))"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            *urls, address = json.loads((await worker.get("/hello/a?b=c")).body)
            assert set(urls) == {"https://example.com:8443/hello/a?b=c"}
            assert address == {"transport": "tcp", "hostname": "203.0.113.9", "port": 4711}
            local = {"x-forwarded-proto": "http", "x-outlast-peer": "[::1]:80", "host": "localhost"}
            *urls, address = json.loads((await worker.get("/hello", **local)).body)
            assert set(urls) == {"http://localhost/hello"}
            assert address == {"transport": "tcp", "hostname": "::1", "port": 80}

    async def test_they_can_be_read_after_the_response(self, function: MakeFunction) -> None:
        source = """Deno.serve((req, info) => {
          const url = req.url;
          const read = async () => {
            await info.completed;
            console.log(req.url === url, info.remoteAddr.port, req.headers.get("host"));
          };
          EdgeRuntime.waitUntil(read());
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            assert (await worker.log("true 4711 example.com:8443"))["request"] == "r-1"

    @pytest.mark.parametrize(
        ("handler", "status", "code", "line"),
        [
            ("() => { throw new Error('thrown') }", 500, "HANDLER_ERROR", "Error: thrown\n    at "),
            ("async () => { throw new Error('late') }", 500, "HANDLER_ERROR", "Error: late\n    at "),
            ("() => undefined", 502, "BAD_RESPONSE", "handler returned undefined, not a Response"),
            ("async () => 'text'", 502, "BAD_RESPONSE", "handler returned text, not a Response"),
            (
                "async () => { const r = new Response('x'); await r.text(); return r }",
                500,
                "HANDLER_ERROR",
                "handler returned a Response whose body was already used",
            ),
        ],
    )
    async def test_a_handler_that_fails(
        self, function: MakeFunction, handler: str, status: int, code: str, line: str
    ) -> None:
        async with booted(function(f"Deno.serve(({handler}) as any)")) as worker:
            await worker.message("ready")
            answer = await worker.get(request_id="r-7")
            log = await worker.message("log", level="error", request="r-7")
        assert (answer.status, answer.headers["sb-error-code"]) == (status, code)
        assert answer.body == {500: b"Internal Server Error", 502: b"Bad Gateway"}[status]
        assert log["text"].startswith(line)

    async def test_on_error_answers_instead(self, function: MakeFunction) -> None:
        source = """Deno.serve(
          { onError: (error) => new Response(`sorry: ${(error as Error).message}`, { status: 418 }) },
          () => { throw new Error("thrown") },
        )"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            answer = await worker.get()
        assert (answer.status, answer.body) == (418, b"sorry: thrown")
        assert [message["type"] for message in worker.messages] == ["ready"]

    async def test_websocket(self, function: MakeFunction) -> None:
        source = """Deno.serve((req) => {
          const { socket, response } = Deno.upgradeWebSocket(req);
          socket.onmessage = (event) => socket.send(event.data + "!");
          return response;
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(
                b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            writer.write(b"\x81\x82\0\0\0\0hi")
            assert await reader.readexactly(5) == b"\x81\x03hi!"
            writer.close()


class TestTasks:
    async def test_a_task_outlives_its_response(self, function: MakeFunction) -> None:
        source = """
          const open = Promise.withResolvers<void>();
          async function work() {
            await open.promise;
            console.log("working");
            EdgeRuntime.waitUntil(Promise.resolve(), { name: "nested" });
          }
          Deno.serve((req) => {
            if (req.url.endsWith("open")) open.resolve();
            else EdgeRuntime.waitUntil(work(), { name: "work" });
            return new Response("ok");
          });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get(request_id="r-1")).body == b"ok"
            await worker.message("task_started", task=1, name="work", request="r-1")
            assert all(message["type"] != "task_settled" for message in worker.messages)
            await worker.get("/open", request_id="r-2")
            assert (await worker.log("working"))["request"] == "r-1"
            await worker.message("task_started", task=2, name="nested", request="r-1")
            assert await worker.message("task_settled", task=1)
            assert await worker.message("task_settled", task=2, outcome="fulfilled")
        for message in worker.messages:
            messages.decode_from_worker(json.dumps(message).encode())

    async def test_top_level_with_neither_name_nor_request(self, function: MakeFunction) -> None:
        source = """
          const task = Promise.resolve(1);
          const same = EdgeRuntime.waitUntil(task) === task && EdgeRuntime.waitUntil(task) === task;
          Deno.serve(() => new Response());
          console.log("same", same);
        """
        async with booted(function(source)) as worker:
            await worker.log("same true")
            await worker.message("task_settled", task=1, outcome="fulfilled")
            await worker.message("ready")
        started = [message for message in worker.messages if message["type"] == "task_started"]
        assert started == [{"type": "task_started", "task": 1}]

    async def test_timeout(self, function: MakeFunction) -> None:
        source = """
          Deno.serve(() => new Response());
          EdgeRuntime.waitUntil((signal) => new Promise((_, reject) => {
            signal.onabort = () => { console.log(signal.reason.name); reject(new Error("late")) };
          }), { name: "slow", timeout: 5 });
        """
        async with booted(function(source)) as worker:
            settled = await worker.message("task_settled")
            await worker.log("TimeoutError")
            await worker.message("ready")
        assert settled["outcome"] == "timed_out"
        assert settled["error"] == 'TimeoutError: task "slow" took longer than 5 ms'

    async def test_a_rejected_task_is_an_event_and_an_outcome(self, function: MakeFunction) -> None:
        source = """
          const task = Promise.reject(new Error("no"));
          addEventListener("unhandledrejection", (event) => {
            console.log("heard", (event.reason as Error).message, event.promise === task);
          });
          EdgeRuntime.waitUntil(task);
          Deno.serve(() => new Response());
        """
        async with booted(function(source)) as worker:
            settled = await worker.message("task_settled", outcome="rejected")
            await worker.log("heard no true")
            await worker.message("ready")
        assert settled["error"].startswith("Error: no\n    at file:///")
        assert "uncaught" not in {message["type"] for message in worker.messages}

    async def test_the_loop_need_not_turn_for_the_record(self, function: MakeFunction) -> None:
        source = """Deno.serve(() => {
          console.log("before");
          EdgeRuntime.waitUntil(new Promise(() => {}), { name: "doomed" });
          for (;;);
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("before")
            await worker.message("task_started", name="doomed", request="r-1")
            request.cancel()

    async def test_ten_thousand(self, function: MakeFunction) -> None:
        source = """Deno.serve(() => {
          for (let i = 0; i < 10_000; i++) EdgeRuntime.waitUntil(Promise.resolve());
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.message("task_settled", task=10_000)
        assert len({m["task"] for m in worker.messages if m["type"] == "task_started"}) == 10_000
        assert len({m["task"] for m in worker.messages if m["type"] == "task_settled"}) == 10_000


class TestUncaught:
    @pytest.mark.parametrize(
        ("failing", "request_id"),
        [
            ("Promise.reject(new Error('lost'))", "r-5"),
            ("(async () => { await 1; throw new Error('lost') })()", "r-5"),
            ("queueMicrotask(() => { throw new Error('lost') })", "r-5"),
            ("setTimeout(() => { throw new Error('lost') })", None),
            ("reportError(new Error('lost'))", "r-5"),
        ],
    )
    async def test_it_is_reported_and_the_worker_lives(
        self, function: MakeFunction, failing: str, request_id: str | None
    ) -> None:
        source = f"Deno.serve((req) => {{ if (req.url.endsWith('fail')) {failing}; return new Response('ok') }})"
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get("/fail", request_id="r-5")
            uncaught = await worker.message("uncaught")
            assert (await worker.get()).body == b"ok"
        assert uncaught["error"].startswith("Error: lost\n    at ")
        assert request_id is None or uncaught["request"] == request_id

    @pytest.mark.parametrize("listen", ["addEventListener('{}', listener)", "on{} = listener"])
    @pytest.mark.parametrize(
        ("event", "failing"),
        [
            ("unhandledrejection", "Promise.reject(new Error('lost'))"),
            ("error", "setTimeout(() => { throw new Error('lost') })"),
        ],
    )
    async def test_prevented_means_handled(self, function: MakeFunction, listen: str, event: str, failing: str) -> None:
        source = f"""
          const listener = (event: any) => {{
            console.log("heard", (event.reason ?? event.error).message);
            event.preventDefault();
          }};
          {listen.format(event)};
          Deno.serve(() => {{ {failing}; return new Response() }});
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.log("heard lost")
            await worker.get()
        assert "uncaught" not in {message["type"] for message in worker.messages}

    @pytest.mark.parametrize(
        "source",
        [
            "addEventListener('error', () => { console.log('heard'); throw new Error('again') });"
            "setTimeout(() => { throw new Error('first') })",
            "addEventListener('unhandledrejection', async () => { console.log('heard'); throw new Error('again') });"
            "setTimeout(() => { Promise.reject(new Error('first')) })",
        ],
    )
    async def test_a_listener_that_fails_is_not_called_again(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source + "; Deno.serve(() => new Response())")) as worker:
            await worker.message("ready")
            while sum(message["type"] == "uncaught" for message in worker.messages) < 2:
                await worker.get()
        errors = sorted(m["error"].split("\n")[0] for m in worker.messages if m["type"] == "uncaught")
        assert errors == ["Error: again", "Error: first"]
        assert [m["text"] for m in worker.messages if m["type"] == "log"] == ["heard"]


class TestEnd:
    async def test_beforeunload_waits_for_what_its_listeners_start(self, function: MakeFunction) -> None:
        source = """
          const open = Promise.withResolvers<void>();
          addEventListener("beforeunload", (event) => {
            event.preventDefault();
            console.log("told", event.detail.reason);
            EdgeRuntime.waitUntil(open.promise, { name: "save" });
          });
          Deno.serve(() => { open.resolve(); return new Response() });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="wall_clock")
            await worker.log("told wall_clock")
            await worker.message("task_started", name="save")
            assert "unloaded" not in {message["type"] for message in worker.messages}
            await worker.get()
            await worker.message("unloaded", reason="wall_clock")
            worker.say(type="beforeunload", reason="wall_clock")
            worker.say(type="beforeunload", reason="termination")
            await worker.message("unloaded", reason="termination")
        told = [message["text"] for message in worker.messages if message["type"] == "log"]
        assert told == ["told wall_clock", "told termination"]

    async def test_exit_dispatches_unload_and_loses_nothing(self, function: MakeFunction) -> None:
        source = """
          addEventListener("beforeunload", () => console.log("never"));
          addEventListener("unload", () => { for (let i = 0; i < 20; i++) console.log("unload", i) });
          Deno.serve(() => new Response());
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        told = [message["text"] for message in worker.messages if message["type"] == "log"]
        assert told == [f"unload {number}" for number in range(20)]

    @pytest.mark.parametrize("call", ["Deno.exit(3)", "(globalThis as any).process.exit(3)"])
    async def test_user_code_that_exits_loses_nothing(self, function: MakeFunction, call: str) -> None:
        source = f"""Deno.serve(() => {{
          for (let i = 0; i < 50; i++) EdgeRuntime.waitUntil(new Promise(() => {{}}), {{ name: "task " + i }});
          {call};
        }})"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await worker.ended())[0] == 3
            writer.close()
        names = [message["name"] for message in worker.messages if message["type"] == "task_started"]
        assert names == [f"task {number}" for number in range(50)]

    @pytest.mark.parametrize("when", ["in standby", "ready"])
    async def test_it_ends_with_its_node(self, function: MakeFunction, when: str) -> None:
        source = "addEventListener('unload', () => { for (;;); }); Deno.serve(() => new Response())"
        entrypoint = function(source)
        async with standby(entrypoint) as worker:
            if when == "ready":
                worker.boot(entrypoint)
                await worker.message("ready")
            worker.writer.close()
            assert (await worker.ended())[0] == 1


class TestSurroundings:
    async def test_what_is_not_the_functions_business_is_hidden(self, function: MakeFunction) -> None:
        source = "Deno.serve(() => Response.json(Object.keys(Deno.env.toObject()).sort()))"
        async with booted(function(source), GREETING="hi") as worker:
            await worker.message("ready")
            assert json.loads((await worker.get()).body) == ["GREETING", "TMPDIR"]

    async def test_console(self, function: MakeFunction) -> None:
        source = """Deno.serve(() => {
          console.debug("debug %d", 1);
          console.group("group");
          console.warn({ a: [1, "b"] });
          console.groupEnd();
          console.error("error");
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.log("error")
        told = [(message["level"], message["text"]) for message in worker.messages if message["type"] == "log"]
        assert told == [
            ("debug", "debug 1"),
            ("info", "group"),
            ("warning", '  { a: [ 1, "b" ] }'),
            ("error", "error"),
        ]
        assert {message["request"] for message in worker.messages if message["type"] == "log"} == {"r-1"}

    async def test_node_http_server(self, function: MakeFunction) -> None:
        source = """
          import { createServer } from "node:http";
          const server = createServer((req, res) => {
            setTimeout(() => console.log("after"), 1);
            res.end(JSON.stringify([req.url, req.socket.remoteAddress, req.socket.remotePort]));
          });
          server.listen(3000, () => console.log("address", JSON.stringify(server.address())));
        """
        async with booted(function(source)) as worker:
            assert await worker.message("ready") == {"type": "ready", "socket": "node.sock"}
            await worker.log('address {"address":"0.0.0.0","family":"IPv4","port":3000}')
            answer = await worker.get("/hello/x", socket="node.sock", request_id="r-3")
            assert json.loads(answer.body) == ["/hello/x", "203.0.113.9", 4711]
            assert (await worker.log("after"))["request"] == "r-3"

    async def test_node_servers_of_other_kinds_are_left_alone(self, function: MakeFunction) -> None:
        source = """
          import { createServer } from "node:net";
          const server = createServer().listen(0, "127.0.0.1", () => {
            console.log("tcp", (server.address() as { port: number }).port > 0);
          });
          Deno.serve(() => new Response("ok"));
        """
        async with booted(function(source)) as worker:
            await worker.log("tcp true")
            assert await worker.message("ready") == {"type": "ready"}


class TestSeeds:
    """The documents' snippets, verbatim; how they look to a client is tested with the whole server."""

    @pytest.mark.parametrize("folder", sorted(path.parent.name for path in SEEDS.glob("*/index.ts")))
    async def test_each_boots_and_answers_before_its_task_ends(self, folder: str) -> None:
        async with booted(SEEDS / folder / "index.ts", WORK_MS="150") as worker:
            await worker.message("ready")
            answer = await self.call(worker, folder)
            assert answer == 200
            if folder != "practices-unhandled-rejection":
                await worker.message("task_settled", task=1)

    @staticmethod
    async def call(worker: DenoWorker, folder: str) -> int:
        if folder != "practices-upload-to-storage":
            return (await worker.get()).status
        reader, writer = await worker.connect()
        writer.write(b'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\n\r\n{"imageData":"x"}')
        status = int((await reader.readline()).split()[1])
        writer.close()
        return status
