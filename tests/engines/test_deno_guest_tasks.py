"""Background tasks and uncaught errors of a Deno worker, seen from the node's end of the sockets."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.deno_worker import UPGRADE, DenoWorker, booted

from outlast.wire import messages

SEEDS = Path(__file__).parents[1] / "fixtures/seeds/supabase/functions"

MakeFunction = Callable[[str], Path]


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
        assert [*messages.decode_from_worker(json.dumps(message).encode() for message in worker.messages)]

    async def test_a_ping_is_answered_behind_all_that_was_said_before(self, function: MakeFunction) -> None:
        source = """
          Deno.serve(() => {
            for (let i = 0; i < 20; i++) EdgeRuntime.waitUntil(new Promise(() => {}));
            return new Response();
          });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            worker.say(type="ping", number=7)
            await worker.message("pong", number=7)
            kinds = [message["type"] for message in worker.messages]
            assert kinds[: kinds.index("pong")].count("task_started") == 20

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


class TestWithoutItsClient:
    """What goes on when nobody waits for its response any more."""

    GOES_ON = """
      const open = Promise.withResolvers<void>();
      async function handler(req: Request) {
        const { pathname } = new URL(req.url);
        if (pathname === "/open") open.resolve();
        else {
          console.log("begun");
          await open.promise;
          if (pathname === "/fail") throw new Error("no");
          console.log("saved");
        }
        return new Response("ok");
      }
    """

    @staticmethod
    async def left(worker: DenoWorker, path: str) -> None:
        """A request whose client leaves once its handler has begun."""
        _, writer = await worker.connect()
        writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nsb-request-id: r-8\r\n\r\n" % path.encode())
        await worker.log("begun")
        writer.close()
        await writer.wait_closed()

    async def fails_for_nobody(self, worker: DenoWorker) -> None:
        """A handler that fails once it has become a task."""
        await self.left(worker, "/fail")
        worker.say(type="abandoned", request="r-8")
        await worker.message("task_started", request="r-8")
        await worker.get("/open")

    @pytest.mark.parametrize("told", ["abandoned", "ping"])
    @pytest.mark.parametrize(
        "serve",
        [
            "Deno.serve(handler)",
            "export default { fetch: handler }",
            "import { serve } from 'https://deno.land/std@0.168.0/http/server.ts'; serve(handler)",
        ],
        ids=["serve", "fetch", "std"],
    )
    async def test_it_is_a_task(self, function: MakeFunction, serve: str, told: str) -> None:
        async with booted(function(self.GOES_ON + serve)) as worker:
            await worker.message("ready")
            await self.left(worker, "/fn/long?a=1")
            if told == "abandoned":
                worker.say(type="abandoned", request="r-8")
                await worker.message("task_started", name="GET /fn/long", request="r-8")
                await worker.get("/open")
            else:
                # That is how its node asks a worker whether there is anything left to wait for.
                worker.say(type="ping", number=7, no_clients=True)
                await worker.message("pong", number=7)
                assert [m["type"] for m in worker.messages[-2:]] == ["task_started", "pong"]
                # Nobody waits for what comes now.
                assert (await worker.get("/open")).status == 503
                return
            assert (await worker.log("saved"))["request"] == "r-8"
            await worker.message("task_settled", task=1, outcome="fulfilled")
            assert (await worker.get("/open")).body == b"ok"
        printed = [m["text"] for m in worker.messages if m["type"] == "log"]
        assert printed == ["begun", "saved"]

    async def test_it_may_fail(self, function: MakeFunction) -> None:
        source = """
          addEventListener("unhandledrejection", ({ reason }) => console.log("heard", reason.message));
          Deno.serve(handler);
        """
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            await self.fails_for_nobody(worker)
            failed = await worker.message("task_settled", task=1, outcome="rejected")
            await worker.log("heard no")
        assert failed["error"].startswith("Error: no\n    at handler (file:///")
        # It is told of once.
        assert {m["level"] for m in worker.messages if m["type"] == "log"} == {"info"}
        assert "uncaught" not in {m["type"] for m in worker.messages}

    async def test_what_deals_with_its_failure_is_a_part_of_it(self, function: MakeFunction) -> None:
        source = """
          const closed = Promise.withResolvers<void>();
          async function onError(error: Error) {
            console.log("stores", error.message);
            await closed.promise;
            return new Response("stored", { status: 500 });
          }
          Deno.serve({ onError }, (req) => {
            if (req.url.endsWith("close")) closed.resolve();
            return handler(req);
          });
        """
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            await self.fails_for_nobody(worker)
            await worker.log("stores no")
            assert "task_settled" not in {m["type"] for m in worker.messages}
            await worker.get("/close")
            await worker.message("task_settled", task=1, outcome="fulfilled")

    async def test_one_that_heeds_its_signal_is_none(self, function: MakeFunction) -> None:
        source = """Deno.serve(async (req) => {
          console.log("begun");
          await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
          console.log("stopped");
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await self.left(worker, "/")
            worker.say(type="abandoned", request="r-8")
            await worker.log("stopped")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert "task_started" not in {m["type"] for m in worker.messages}

    @pytest.mark.parametrize(
        "handler",
        [
            "async (req) => { await new Promise((end) => req.signal.onabort = end); leaves(); return new Response() }",
            "() => new Response(ReadableStream.from(ticks()))",
        ],
        ids=["signal", "stream"],
    )
    async def test_what_it_begins_when_its_client_leaves_is_known_before_a_ping_is_answered(
        self, function: MakeFunction, handler: str
    ) -> None:
        source = f"""
          const leaves = () => {{ EdgeRuntime.waitUntil(Promise.resolve(), {{ name: "save" }}) }};
          async function* ticks() {{
            try {{
              for (;;) {{
                yield new Uint8Array(1);
                await new Promise((later) => setTimeout(later, 10));
              }}
            }} finally {{
              leaves();
            }}
          }}
          const handler: Deno.ServeHandler = {handler};
          Deno.serve((...request) => {{ console.log("begun"); return handler(...request) }});
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await self.left(worker, "/")
            worker.say(type="abandoned", request="r-8")
            worker.say(type="ping", number=7, no_clients=True)
            await worker.message("pong")
        assert [m.get("name") for m in worker.messages if m["type"] in ("task_started", "pong")] == ["save", None]

    async def test_a_request_may_come_after_the_news(self, function: MakeFunction) -> None:
        source = """
          const there = () => { try { return Deno.statSync(new URL("go", import.meta.url)); } catch { /* not yet */ } };
          Deno.serve((req) => {
            if (!req.url.endsWith("block")) return handler(req);
            console.log("blocked");
            while (!there());
            return new Response();
          });
        """
        entrypoint = function(self.GOES_ON + source)
        async with booted(entrypoint) as worker:
            await worker.message("ready")
            _, blocking = await worker.connect()
            _, writer = await worker.connect()
            blocking.write(b"GET /block HTTP/1.1\r\nhost: x\r\n\r\n")
            await worker.log("blocked")
            worker.say(type="abandoned", request="r-8")
            await worker.writer.drain()
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nsb-request-id: r-8\r\n\r\n")
            await writer.drain()
            writer.close()
            entrypoint.with_name("go").touch()
            await worker.message("task_started", name="GET /", request="r-8")
            blocking.close()

    async def test_one_that_goes_on_beside_its_websocket(self, function: MakeFunction) -> None:
        source = """Deno.serve(async (req) => {
          const { response } = Deno.upgradeWebSocket(req);
          await handler(new Request("http://x/long"));
          return response;
        })"""
        async with booted(function(self.GOES_ON + source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(UPGRADE + b"sb-request-id: r-8\r\n\r\n")
            await worker.log("begun")
            writer.close()
            worker.say(type="abandoned", request="r-8")
            await worker.message("task_started", name="GET /hello", request="r-8")


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

    async def test_of_a_web_worker(self, function: MakeFunction) -> None:
        source = """
          const code = URL.createObjectURL(new Blob(["throw new Error('lost')"]));
          Deno.serve((req) => {
            if (req.url.endsWith("fail")) new Worker(code, { type: "module" });
            return new Response("ok");
          });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get("/fail", request_id="r-5")
            uncaught = await worker.message("uncaught", request="r-5")
            assert (await worker.get()).body == b"ok"
        assert uncaught["error"].endswith("Error: lost")

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
