"""What a Python worker tells its node of background tasks and of errors that nobody caught."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_guest.python_worker import booted

from outlast.wire import messages

MakeFunction = Callable[[str], Path]


class TestTasks:
    async def test_a_task_outlives_its_response(self, function: MakeFunction) -> None:
        source = """
            opened = asyncio.Event()

            async def nested(): pass

            async def work():
                await opened.wait()
                print("working")
                EdgeRuntime.wait_until(nested())

            @serve
            async def handler(request):
                if request.path == "/open": opened.set()
                else: EdgeRuntime.wait_until(work())
                return Response("ok")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get(request_id="r-1")).body == b"ok"
            await worker.message("task_started", task=1, name="work", request="r-1")
            assert "task_settled" not in worker.kinds
            await worker.get("/open", request_id="r-2")
            assert (await worker.log("working"))["request"] == "r-1"
            await worker.message("task_started", task=2, name="nested", request="r-1")
            assert await worker.message("task_settled", task=1)
            assert await worker.message("task_settled", task=2, outcome="fulfilled")
        assert [*messages.decode_from_worker(json.dumps(message).encode() for message in worker.messages)]

    async def test_a_ping_is_answered_behind_all_that_was_said_before(self, function: MakeFunction) -> None:
        source = """
import asyncio
from outlast import EdgeRuntime, Response, serve

@serve
async def handler(request):
    for _ in range(20):
        EdgeRuntime.wait_until(asyncio.Event().wait())
    return Response()
"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            worker.say(type="ping", number=7)
            await worker.message("pong", number=7)
            assert worker.kinds[: worker.kinds.index("pong")].count("task_started") == 20

    async def test_what_can_be_waited_for_and_the_same_twice_is_one(self, function: MakeFunction) -> None:
        source = """
            async def work(): return 1
            def block(): return 2
            class Query:
                __hash__ = None
                def __await__(self): return work().__await__()

            wait_until = EdgeRuntime.wait_until
            coroutine, task, future = work(), asyncio.create_task(work()), asyncio.get_running_loop().create_future()
            future.set_result(None)
            first = wait_until(coroutine, name="coroutine")
            assert isinstance(first, asyncio.Task)
            assert wait_until(coroutine) is first and wait_until(first) is first
            assert wait_until(task) is task and wait_until(task) is task
            assert wait_until(future) is future
            wait_until(asyncio.to_thread(block))
            query = Query()
            assert wait_until(query, name="query") is wait_until(query)
            wait_until(asyncio.gather(work(), work()), name="gather")
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            for number in range(1, 7):
                await worker.message("task_settled", task=number, outcome="fulfilled")
        started = [message for message in worker.messages if message["type"] == "task_started"]
        assert [message.get("name") for message in started] == [
            *("coroutine", "work", None, "block", "query", "gather"),
        ]
        assert "request" not in started[0]

    async def test_what_runs_in_a_pool_is_one_task_too(self, function: MakeFunction) -> None:
        source = """
            from concurrent.futures import Future

            work = Future()
            first = EdgeRuntime.wait_until(work, name="pool")

            @serve
            async def handler(request):
                assert EdgeRuntime.wait_until(work) is first
                work.set_result(7)
                assert await EdgeRuntime.wait_until(work) == 7
                # It has settled by now.
                assert EdgeRuntime.wait_until(work) is first
                return Response("one")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get()).body == b"one"
            await worker.message("task_settled", task=1, outcome="fulfilled")
        assert worker.kinds.count("task_started") == 1

    @pytest.mark.parametrize(
        "call",
        [
            "await asyncio.get_running_loop().run_in_executor(None, block)",
            "EdgeRuntime.wait_until(pool.submit(block), name='pooled')",
        ],
    )
    async def test_a_pool_works_for_the_request_that_asked_it_to(self, function: MakeFunction, call: str) -> None:
        source = f"""
            from concurrent.futures import ThreadPoolExecutor
            from contextvars import ContextVar

            local = ContextVar("local")
            pool = ThreadPoolExecutor(1, initializer=lambda: local.set("of the thread"))

            async def work(): pass

            def block():
                print("blocked", local.get(None))
                EdgeRuntime.wait_until(work())

            @serve
            async def handler(request):
                {call}
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            for request in ("r-1", "r-2"):
                await worker.get(request_id=request)
                await worker.message("task_started", name="work", request=request)
                set_ = "None" if "None" in call else "of the thread"
                await worker.message("log", text=f"blocked {set_}", request=request)

    async def test_of_three_the_first_raises(self, function: MakeFunction) -> None:
        source = """
            async def work(number):
                await asyncio.sleep(0)
                if number == 1: raise ValueError("no")
                print("did", number)

            @serve
            async def handler(request):
                for number in (1, 2, 3): EdgeRuntime.wait_until(work(number), name=f"work {number}")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            failed = await worker.message("task_settled", task=1)
            await worker.message("task_settled", task=2, outcome="fulfilled")
            await worker.message("task_settled", task=3, outcome="fulfilled")
        assert failed["outcome"] == "rejected"
        assert failed["error"].startswith("Traceback")
        assert failed["error"].endswith("ValueError: no")
        assert worker.printed == [("info", "did 2"), ("info", "did 3")]
        assert "uncaught" not in worker.kinds

    async def test_timeout_cancels(self, function: MakeFunction) -> None:
        source = """
            async def slow():
                try: await asyncio.Event().wait()
                finally: print("tidied")

            EdgeRuntime.wait_until(slow(), timeout=0.3)
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            settled = await worker.message("task_settled")
        assert (settled["outcome"], settled["error"]) == (
            "timed_out",
            'TimeoutError: task "slow" took longer than 0.3 s',
        )
        assert worker.printed == [("info", "tidied")]

    async def test_what_fails_after_its_timeout(self, function: MakeFunction) -> None:
        source = """
            async def slow():
                try: await asyncio.Event().wait()
                finally: raise ValueError("not stored")

            add_event_listener("unhandledrejection", lambda event: print("heard", event.reason))

            @serve
            async def handler(request):
                EdgeRuntime.wait_until(slow(), timeout=0.1)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            await worker.message("task_settled", outcome="timed_out")
            error = await worker.message("log", level="error", request="r-1")
            await worker.log("heard not stored")
        first, *_, last = error["text"].splitlines()
        assert first == 'task "slow" failed after its timeout:'
        assert last == "ValueError: not stored"
        assert "uncaught" not in worker.kinds

    async def test_what_goes_on_after_its_timeout_is_told_of(self, function: MakeFunction) -> None:
        source = """
            opened = asyncio.Event()

            async def stubborn():
                while not opened.is_set():
                    try: await opened.wait()
                    except: pass

            @serve
            async def handler(request):
                if request.path == "/open": opened.set()
                else: EdgeRuntime.wait_until(stubborn(), timeout=0.1)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            warning = await worker.message("log", level="warning", request="r-1")
            assert warning["text"].startswith('task "stubborn" still runs, 2 s after its timeout: ')
            assert "task_settled" not in worker.kinds
            await worker.get("/open")
            await worker.message("task_settled", outcome="timed_out")

    async def test_cancelled_by_the_function_itself(self, function: MakeFunction) -> None:
        source = """
            add_event_listener("unhandledrejection", lambda event: print("heard"))
            EdgeRuntime.wait_until(asyncio.Event().wait()).cancel()
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            settled = await worker.message("task_settled")
            await worker.message("ready")
        assert (settled["outcome"], settled["error"]) == ("rejected", "CancelledError: the task was cancelled")
        assert worker.printed == []

    async def test_what_is_left_of_another_loop(self, function: MakeFunction) -> None:
        source = """
            async def main():
                EdgeRuntime.wait_until(asyncio.Event().wait(), name="left")

            @serve
            def handler(request):
                asyncio.run(main())
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            settled = await worker.message("task_settled", task=1, outcome="rejected")
        assert settled["error"].startswith(
            "CancelledError: the task was cancelled: it ran in an event loop of its own, "
        )

    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            ("store", "the function store, which is not awaitable, so there is nothing to wait for: "),
            ("7", "a value of type int, which is not awaitable, so there is nothing to wait for: "),
        ],
    )
    async def test_what_cannot_be_awaited(self, function: MakeFunction, value: str, advice: str) -> None:
        source = f"""
            def store(data): pass
            value = {value}
            assert EdgeRuntime.wait_until(value) is value and EdgeRuntime.wait_until(None) is None
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
        ((level, text),) = worker.printed
        assert level == "warning"
        assert text.startswith(f"EdgeRuntime.wait_until was given {advice}")
        assert "write EdgeRuntime.wait_until(" in text

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ("name=1", "TypeError: wait_until: name must be a str, not int"),
            ("timeout='1'", "TypeError: wait_until: timeout must be a number of seconds, not str"),
            ("timeout=0", "ValueError: wait_until: timeout must be a positive number of seconds, not 0"),
            ("timeout=float('nan')", "ValueError: wait_until: timeout must be a positive number of seconds, not nan"),
        ],
    )
    async def test_arguments_that_are_none(self, function: MakeFunction, arguments: str, error: str) -> None:
        async with booted(function(f"EdgeRuntime.wait_until(asyncio.sleep(0), {arguments})")) as worker:
            failure = await worker.message("boot_failed")
        assert failure["error"].splitlines()[-1] == error

    async def test_from_a_sync_handler_and_from_any_thread(self, function: MakeFunction) -> None:
        source = """
            async def work(where):
                await asyncio.sleep(0)
                print("from", where)

            def elsewhere():
                EdgeRuntime.wait_until(work("thread"))

            @serve
            def handler(request):
                assert threading.current_thread() is not threading.main_thread()
                assert EdgeRuntime.wait_until(work("handler")).get_name()
                thread = threading.Thread(target=elsewhere)
                thread.start()
                thread.join()
                return Response("ok")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get(request_id="r-6")).body == b"ok"
            await worker.message("task_started", task=1, name="work", request="r-6")
            assert (await worker.log("from handler"))["request"] == "r-6"
            await worker.log("from thread")
            await worker.message("task_settled", task=2)

    async def test_the_loop_need_not_turn_for_the_record(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                print("before")
                EdgeRuntime.wait_until(asyncio.Event().wait(), name="doomed")
                number = 0
                while True:
                    time.sleep(0.01)
                    print("still here", number := number + 1)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("before")
            await worker.message("task_started", name="doomed", request="r-1")
            await worker.log("still here 20")
            request.cancel()

    async def test_ten_thousand(self, function: MakeFunction) -> None:
        source = """
            async def work(): pass

            @serve
            async def handler(request):
                for _ in range(10_000): EdgeRuntime.wait_until(work())
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.message("task_settled", task=10_000)
        assert sorted(m["task"] for m in worker.messages if m["type"] == "task_started") == [*range(1, 10_001)]
        assert sorted(m["task"] for m in worker.messages if m["type"] == "task_settled") == [*range(1, 10_001)]

    async def test_nobody_else_keeps_it_alive(self, function: MakeFunction) -> None:
        source = """
            import gc, weakref

            async def wait():
                future = asyncio.get_running_loop().create_future()
                future.add_done_callback(lambda _: None)
                futures.append(weakref.ref(future))
                await future
                print("woken")

            futures = []
            EdgeRuntime.wait_until(wait())

            @serve
            async def handler(request):
                gc.collect()
                futures[0]().set_result(None)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.log("woken")
            await worker.message("task_settled", outcome="fulfilled")


class TestUncaught:
    LOST = "async def lose(): raise ValueError('lost')\ndef fail(*_): raise ValueError('lost')\n"

    @pytest.mark.parametrize(
        ("failing", "known_request"),
        [
            ("asyncio.create_task(lose())", False),
            ("asyncio.get_running_loop().create_future().set_exception(ValueError('lost'))", True),
            ("asyncio.get_running_loop().call_soon(fail)", False),
            ("threading.Thread(target=fail).start()", False),
        ],
    )
    async def test_it_is_reported_and_the_worker_lives(
        self, function: MakeFunction, failing: str, known_request: bool
    ) -> None:
        source = f"""
async def handler(request):
    if request.path == "/fail": {failing}
    return Response("ok")
serve(handler)
"""
        async with booted(function(self.LOST + source)) as worker:
            await worker.message("ready")
            await worker.get("/fail", request_id="r-5")
            uncaught = await worker.message("uncaught")
            assert (await worker.get()).body == b"ok"
        assert uncaught["error"].splitlines()[-1] == "ValueError: lost"
        assert not known_request or uncaught["request"] == "r-5"

    async def test_its_message_may_not_be_known(self, function: MakeFunction) -> None:
        source = """
class Broken(Exception):
    def __str__(self): raise ValueError("not even that")

def fail(): raise Broken

@add_event_listener("error")
def failed(event): print("heard", event.message)

@serve
async def handler(request):
    asyncio.get_running_loop().call_soon(fail)
    return Response()
"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            assert "Broken" in (await worker.message("uncaught"))["error"]
        assert worker.printed == [("info", "heard Broken [an error that cannot be printed]")]

    @pytest.mark.parametrize("listener", ["def", "async def"])
    @pytest.mark.parametrize(
        ("event", "failing"),
        [
            ("unhandledrejection", "asyncio.create_task(lose())"),
            ("unhandledrejection", "EdgeRuntime.wait_until(lose())"),
            ("error", "asyncio.get_running_loop().call_soon(fail)"),
            ("error", "threading.Thread(target=fail).start()"),
        ],
    )
    async def test_prevented_means_handled(
        self, function: MakeFunction, listener: str, event: str, failing: str
    ) -> None:
        source = f"""
@add_event_listener("{event}")
{listener} listener(event):
    print("heard", getattr(event, "reason", None) or event.error)
    event.prevent_default()

@serve
async def handler(request):
    if request.path == "/fail": {failing}
    return Response()
"""
        async with booted(function(self.LOST + source)) as worker:
            await worker.message("ready")
            await worker.get("/fail")
            await worker.log("heard lost")
            await worker.get("/")
            await worker.get("/")
        assert "uncaught" not in worker.kinds

    async def test_the_promise_is_the_task(self, function: MakeFunction) -> None:
        source = """
            @add_event_listener("unhandledrejection")
            def heard(event):
                print("heard", event.reason, event.promise is task)

            task = EdgeRuntime.wait_until(lose())
            serve(lambda request: Response())
        """
        async with booted(function(self.LOST + "\n".join(line[12:] for line in source.split("\n")))) as worker:
            assert (await worker.log("heard lost True"))["level"] == "info"

    @pytest.mark.parametrize("listener", ["def", "async def"])
    async def test_a_listener_that_fails_is_not_called_again(self, function: MakeFunction, listener: str) -> None:
        source = f"""
@add_event_listener("unhandledrejection")
{listener} listener(event):
    print("heard", event.reason)
    raise RuntimeError("again")

EdgeRuntime.wait_until(lose())
serve(lambda request: Response())
"""
        async with booted(function(self.LOST + source)) as worker:
            if listener == "def":
                again = await worker.message("uncaught")
            else:
                again = await worker.message("task_settled", task=2)
            await worker.message("ready")
            await worker.get()
        assert again["error"].endswith("RuntimeError: again")
        assert worker.printed == [("info", "heard lost")]

    @pytest.mark.parametrize("failing", ["EdgeRuntime.wait_until(lose())", "asyncio.create_task(lose())"])
    @pytest.mark.parametrize("event", ["load", "beforeunload"])
    async def test_what_other_listeners_start_fails_like_anything_else(
        self, function: MakeFunction, event: str, failing: str
    ) -> None:
        source = f"""
@add_event_listener("unhandledrejection")
def failed(event):
    print("heard", event.reason)
    event.prevent_default()

@add_event_listener("{event}")
def start(event): {failing}

serve(lambda request: Response())
"""
        async with booted(function(self.LOST + source)) as worker:
            await worker.message("ready")
            if event == "beforeunload":
                worker.say(type="beforeunload", reason="termination")
            await worker.log("heard lost")
            worker.say(type="ping", number=1)
            await worker.message("pong")
        assert "uncaught" not in worker.kinds

    @pytest.mark.parametrize("event", ["load", "beforeunload", "unload"])
    async def test_an_error_in_another_listener_is_one_that_can_be_handled(
        self, function: MakeFunction, event: str
    ) -> None:
        source = f"""
@add_event_listener("error")
def failed(event):
    print("heard", event.message)
    event.prevent_default()

add_event_listener("{event}", fail)
add_event_listener("{event}", lambda event: print("goes on"))
serve(lambda request: Response())
"""
        async with booted(function(self.LOST + source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="termination")
            await worker.message("unloaded")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        assert worker.printed == [("info", "heard ValueError: lost"), ("info", "goes on")]
        assert "uncaught" not in worker.kinds

    async def test_beforeunload_waits_for_the_listener_of_an_error_in_it(self, function: MakeFunction) -> None:
        source = """
told = asyncio.Event()

@add_event_listener("unhandledrejection")
async def failed(event):
    print("tells somebody")
    await told.wait()

@add_event_listener("beforeunload")
async def save(event): await lose()

@serve
async def handler(request):
    told.set()
    return Response()
"""
        async with booted(function(self.LOST + source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="termination")
            await worker.log("tells somebody")
            worker.say(type="ping", number=1)
            await worker.message("pong")
            assert "unloaded" not in worker.kinds
            await worker.get()
            await worker.message("unloaded", reason="termination")

    async def test_what_a_listener_has_started_is_forgotten_when_it_has_settled(self, function: MakeFunction) -> None:
        source = """
            import gc, weakref

            class Kept: pass

            async def work():
                kept = Kept()
                kept_ones.append(weakref.ref(kept))
                return kept

            async def poll():
                for _ in range(3): await EdgeRuntime.wait_until(work())
                print("polled")
                await asyncio.Event().wait()

            kept_ones = []
            add_event_listener("load", lambda event: EdgeRuntime.wait_until(poll()))

            @serve
            async def handler(request):
                gc.collect()
                return Response.json([reference() is None for reference in kept_ones])
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.log("polled")
            assert json.loads((await worker.get()).body) == [True, True, True]

    async def test_a_task_that_nobody_keeps(self, function: MakeFunction) -> None:
        source = """
            import gc, weakref

            async def forgotten():
                await asyncio.get_running_loop().create_future()

            @serve
            async def handler(request):
                asyncio.create_task(forgotten())
                await asyncio.sleep(0)
                gc.collect()
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            warned = await worker.message("log", level="warning")
        assert "forgotten" in warned["text"]
        assert "EdgeRuntime.wait_until keeps a task alive" in warned["text"]
