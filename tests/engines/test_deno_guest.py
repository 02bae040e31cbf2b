"""What a function finds in its Deno worker, seen from the node's end of the sockets."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from deno import find_deno_bin
from tests.engines.deno_worker import DENO_DIR, GUEST, PATIENCE_S, UPGRADE, booted, standby

MakeFunction = Callable[[str], Path]


def test_its_modules_pass_their_own_tests() -> None:
    run = subprocess.run(
        [find_deno_bin(), "test", "--quiet", "--no-check", "--allow-read", str(GUEST)],
        env={**os.environ, "DENO_DIR": str(DENO_DIR), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| 0 failed" in run.stdout


def test_who_may_run_programs_is_not_told_otherwise() -> None:
    said = "NotFound: Failed to spawn 'no-such-program': entity not found"
    # `deno eval` allows everything, as workers do without a sandbox.
    code = f"import {{ hinted }} from '{GUEST.as_uri()}/hints.ts'; console.log(hinted(`{said}`))"
    run = subprocess.run(
        [find_deno_bin(), "eval", "--quiet", code],
        env={**os.environ, "DENO_DIR": str(DENO_DIR), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert run.stdout == f"{said}\n", run.stderr


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
            "for await (const connection of Deno.listen({ port: 9 })) (async () => {"
            "  for await (const event of (Deno as any).serveHttp(connection)) event.respondWith(new Response('ok'))"
            "})()",
            "const listener = Deno.listen({ port: 9 });"
            "for (;;) await (await (Deno as any).serveHttp(await listener.accept()).nextRequest())"
            ".respondWith(Promise.resolve(new Response('ok')))",
        ],
    )
    async def test_every_form_of_serving(self, function: MakeFunction, source: str) -> None:
        async with booted(function(source)) as worker:
            assert await worker.message("ready") == {"type": "ready"}
            answer = await worker.get()
        assert (answer.status, answer.body) == (200, b"ok")

    async def test_what_a_loop_over_connections_does_belongs_to_the_request(self, function: MakeFunction) -> None:
        source = """
            Deno.listen({ port: 9 }).close(); // Just to see whether the port is free.
            for await (const connection of Deno.listen({ port: 9 })) (async () => {
              for await (const event of (Deno as any).serveHttp(connection)) {
                const { request } = event;
                await Promise.resolve();
                console.log(request.headers.get("x-text"));
                event.respondWith(new Response());
              }
            })();
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            for number in ("r-1", "r-2"):
                await worker.get(request_id=number, **{"x-text": f"of {number}"})
                assert (await worker.log(f"of {number}"))["request"] == number

    async def test_standby_has_not_read_the_code_yet(self, function: MakeFunction) -> None:
        entrypoint = function("Deno.serve(() => new Response('old'))")
        async with standby(entrypoint) as worker:
            function("Deno.serve(() => new Response('new'))")
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get()).body == b"new"

    async def test_standby_asks_itself_before_it_answers_the_first_ping(self, function: MakeFunction) -> None:
        asked = asyncio.Future[tuple[bytes, asyncio.StreamWriter]]()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set_result((await reader.readuntil(b"\r\n\r\n"), writer))

        entrypoint = function("Deno.serve(() => new Response('ok'))")
        async with standby(entrypoint) as worker:
            worker.say(type="beforeunload", reason="memory")
            # It obeys, so it listens.
            await worker.message("unloaded")
            (worker.folder / "http.sock").rename(worker.folder / "own.sock")
            async with await asyncio.start_unix_server(take, worker.folder / "http.sock"):
                worker.say(type="ping", number=0)
                request, writer = await asyncio.wait_for(asked, PATIENCE_S)
                assert request.startswith(b"GET / HTTP/1.1\r\n")
                assert [message["type"] for message in worker.messages] == ["unloaded"]
                # Without an answer it is as cold as before, and no worse.
                writer.close()
                await worker.message("pong", number=0)
            worker.say(type="ping", number=1)
            await worker.message("pong", number=1)
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get(socket="own.sock")).body == b"ok"

    async def test_functions_see_nothing_of_what_standby_asks_itself(self, function: MakeFunction) -> None:
        entrypoint = function("let count = 0; Deno.serve(() => new Response(String(++count)))")
        async with standby(entrypoint) as worker:
            worker.say(type="ping", number=0)
            worker.boot(entrypoint)
            await worker.message("ready")
            assert (await worker.get()).body == b"1"
            assert [message["type"] for message in worker.messages] == ["pong", "ready"]

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

    async def test_a_module_that_throws_once_it_serves_is_no_boot_failure(self, function: MakeFunction) -> None:
        source = """
          const asked = Promise.withResolvers<void>();
          Deno.serve(() => {
            EdgeRuntime.waitUntil(new Promise(() => {}), { name: "open" });
            asked.resolve();
            return new Response();
          });
          await asked.promise;
          throw new Error("no queue");
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await worker.message("uncaught"))["error"].startswith("Error: no queue\n    at file:///")
            assert (await worker.ended())[0] == 1
            writer.close()
        assert [message["type"] for message in worker.messages] == ["ready", "task_started", "uncaught"]

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

    async def test_url_stays_the_same_after_the_response(self, function: MakeFunction) -> None:
        source = """Deno.serve((req, info) => {
          const url = req.url;
          EdgeRuntime.waitUntil(info.completed.then(() => console.log(req.url === url)));
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            assert (await worker.log("true"))["request"] == "r-1"

    async def test_work_begun_after_the_response_belongs_to_its_request(self, function: MakeFunction) -> None:
        source = """Deno.serve((_, info) => {
          info.completed.then(() => EdgeRuntime.waitUntil(Promise.resolve(), { name: "late" }));
          return new Response();
        })"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-9")
            assert (await worker.message("task_started", name="late"))["request"] == "r-9"

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
            writer.write(UPGRADE + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            writer.write(b"\x81\x82\0\0\0\0hi")
            assert await reader.readexactly(5) == b"\x81\x03hi!"
            writer.close()

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            ("return new Response('no', { status: 401 })", 401),
            ("throw new Error('no')", 500),
            ("return 'text'", 502),
        ],
    )
    async def test_another_answer_to_an_accepted_websocket_ends_nothing_else(
        self, function: MakeFunction, answer: str, status: int
    ) -> None:
        source = f"""Deno.serve((async (req: Request) => {{
          if (req.url.endsWith("/ok")) return new Response("ok");
          Deno.upgradeWebSocket(req);
          {answer};
        }}) as any)"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            reader, writer = await worker.connect()
            writer.write(UPGRADE + b"sb-request-id: r-5\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.readexactly(4) == b"\x88\x02\x03\xf3"
            writer.close()
            text = f"handler accepted a WebSocket, but answered {status}: the WebSocket is closed instead"
            assert (await worker.log(text))["request"] == "r-5"
            assert (await worker.get("/ok")).body == b"ok"


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

    @pytest.mark.parametrize(
        "listener",
        [
            "addEventListener('beforeunload', async () => { await save() })",
            "addEventListener('beforeunload', { handleEvent: save })",
            "onbeforeunload = save",
            "addEventListener('beforeunload', async () => {\n"
            "  await new Promise((done) => setTimeout(done)); EdgeRuntime.waitUntil(save());\n})",
        ],
    )
    async def test_beforeunload_waits_for_async_listeners(self, function: MakeFunction, listener: str) -> None:
        source = f"""
          const open = Promise.withResolvers<void>();
          async function save() {{
            console.log("saving");
            await open.promise;
            console.log("saved");
          }}
          {listener};
          Deno.serve(() => {{ open.resolve(); return new Response() }});
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="memory")
            worker.say(type="beforeunload", reason="memory")
            await worker.log("saving")
            await worker.get()
            await worker.message("unloaded", reason="memory")
            kinds = [message["type"] for message in worker.messages]
            assert kinds.index("unloaded") > worker.messages.index(await worker.log("saved"))
            assert kinds.index("unloaded") > kinds.index("task_settled")
        assert [message["text"] for message in worker.messages if message["type"] == "log"] == ["saving", "saved"]

    async def test_a_listener_that_fails(self, function: MakeFunction) -> None:
        source = """
          addEventListener("beforeunload", async () => { await null; throw new Error("no") });
          addEventListener("beforeunload", () => { throw new Error("nor this") });
          Deno.serve(() => new Response());
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="cpu")
            await worker.message("unloaded")
            settled = await worker.message("task_settled", outcome="rejected")
            uncaught = await worker.message("uncaught")
        assert settled["error"].startswith("Error: no\n")
        assert uncaught["error"].startswith("Error: nor this\n")

    async def test_listeners_of_node_hear_of_lost_rejections(self, function: MakeFunction) -> None:
        source = """
          import process from "node:process";
          process.on("unhandledRejection", (reason) => {
            console.log("heard", reason);
            if (reason === "second") throw new Error("by the listener");
          });
          let reasons = ["first", "second"];
          Deno.serve(() => { Promise.reject(reasons.shift()); return new Response() });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.log("heard first")
            await worker.get()
            await worker.log("heard second")
            assert (await worker.message("uncaught"))["error"].startswith("Error: by the listener\n")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        assert [message["type"] for message in worker.messages] == ["ready", "log", "log", "uncaught"]

    async def test_events_are_told_of_whatever_their_classes_are_replaced_with(self, function: MakeFunction) -> None:
        """As set-ups with jsdom do, whose events are none for Deno."""
        source = """
          class Foreign {}
          Object.assign(globalThis, { CustomEvent: Foreign, ErrorEvent: Foreign, PromiseRejectionEvent: Foreign });
          addEventListener("beforeunload", (event) => console.log("told", event.detail.reason));
          addEventListener("error", (event) => console.log("heard", event.message));
          addEventListener("unhandledrejection", (event) => console.log("heard", event.reason));
          Deno.serve(() => {
            setTimeout(() => { throw new Error("thrown") });
            Promise.reject("lost");
            return new Response();
          });
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="cpu")
            await worker.log("told cpu")
            await worker.message("unloaded", reason="cpu")
            await worker.get()
            await worker.log("heard lost")
            await worker.message("uncaught", error="lost")
            await worker.log("heard Uncaught Error: thrown")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        assert len([message for message in worker.messages if message["type"] == "uncaught"]) == 2

    async def test_events_are_told_of_whatever_dispatch_event_is_replaced_with(self, function: MakeFunction) -> None:
        source = """
          globalThis.dispatchEvent = (event) => {
            if (event.type !== "own") throw new TypeError(`${event.type} is none of mine`);
            console.log("dispatched", event.type);
            return true;
          };
          for (const type of ["load", "beforeunload", "unload"]) addEventListener(type, () => console.log(type));
          addEventListener("error", (event) => console.log("heard", event.message));
          addEventListener("unhandledrejection", (event) => console.log("heard", event.reason));
          dispatchEvent(new Event("own"));
          Deno.serve(() => {
            setTimeout(() => { throw new Error("thrown") });
            Promise.reject("lost");
            return new Response("ok");
          });
        """
        async with booted(function(source)) as worker:
            await worker.log("dispatched own")
            await worker.log("load")
            await worker.message("ready")
            assert (await worker.get()).body == b"ok"
            await worker.log("heard lost")
            await worker.message("uncaught", error="lost")
            await worker.log("heard Uncaught Error: thrown")
            worker.say(type="beforeunload", reason="cpu")
            await worker.log("beforeunload")
            await worker.message("unloaded", reason="cpu")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
            await worker.log("unload")

    async def test_an_event_loop_that_runs_empty_is_nobodys_business(self, function: MakeFunction) -> None:
        source = """
          addEventListener("beforeunload", () => console.log("never"));
          addEventListener("beforeunload", () => console.log("never"), { capture: true });
          onbeforeunload = () => console.log("never");
          await new Promise((done) => setTimeout(done, 1));
          export const nothing = 1;
        """
        async with booted(function(source)) as worker:
            await worker.message("log", level="warning")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        assert [message["level"] for message in worker.messages if message["type"] == "log"] == ["warning"]

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
            assert (await worker.ended_by_request())[0] == 3
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

    async def test_names_that_only_one_of_the_two_runtimes_has(self, function: MakeFunction) -> None:
        source = """const { Session } = (globalThis as any).Supabase.ai;
        const models = ["gte-small", "mistral"].map((name) => new Session(name));
        const refused = () => Promise.all(models.map((model) => model.run("x").catch(String)));
        Deno.serve(async () => Response.json([typeof localStorage, ...await refused()]))"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            storage, *errors = json.loads((await worker.get()).body)
        assert storage == "undefined"
        for error, model, remedy in zip(
            errors, ("gte-small", "mistral"), ("an API for embeddings", "AI_INFERENCE_API_HOST"), strict=True
        ):
            assert error.startswith(f'NotSupported: Supabase.ai.Session("{model}") is not available: ')
            assert remedy in error

    @pytest.mark.parametrize(
        ("mode", "path", "prompt", "parts"),
        [
            ("ollama", "/api/generate", "hi", ['{"response":"gr', 'ü"}\n{"response":"n","done":true}\n']),
            (
                "openaicompatible",
                "/v1/chat/completions",
                {"messages": []},
                ['event: x\ndata: {"response":"grü"}\n\n: alive\n\ndata: {"resp', 'onse":"n"}\n\ndata: [DONE]\n\n'],
            ),
        ],
    )
    async def test_models_of_a_server(
        self, function: MakeFunction, mode: str, path: str, prompt: object, parts: list[str]
    ) -> None:
        asked = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            asked.append((head.split(b" ")[1].decode(), json.loads(await reader.readexactly(size))))
            is_stream = asked[-1][1]["stream"]
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
            for part in parts if is_stream else ['{"response":"grün"}']:
                writer.write(part.encode())
                await writer.drain()
            writer.close()

        source = f"""const session = new (globalThis as any).Supabase.ai.Session("mistral");
        Deno.serve(async () => {{
          const prompt = {json.dumps(prompt)}, mode = "{mode}", whole = await session.run(prompt, {{ mode }});
          let parts = "";
          for await (const {{ response }} of await session.run(prompt, {{ mode, stream: true }})) parts += response;
          return Response.json([whole.response, parts]);
        }})"""
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with booted(function(source), AI_INFERENCE_API_HOST=f"http://{host}:{port}") as worker:
                await worker.message("ready")
                answered = (await worker.get()).body
        assert json.loads(answered) == ["grün", "grün"], answered
        content = {"prompt": prompt} if isinstance(prompt, str) else prompt
        assert asked == [(path, {**content, "model": "mistral", "stream": stream}) for stream in (False, True)]

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
