"""Background tasks and uncaught errors of a Deno worker, seen from the node's end of the sockets."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.deno_worker import DenoWorker, booted

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
