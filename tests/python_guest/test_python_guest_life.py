"""How a Python worker ends, what it prints and logs, and what it does when its event loop is stuck."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_guest.python_worker import booted, standby

MakeFunction = Callable[[str], Path]


async def ends_in_the_middle_of(names: str, entrypoint: Path) -> None:
    """All that a worker of this function has to say is what its end cuts off."""
    async with booted(entrypoint) as worker:
        await worker.message("ready")
        worker.say(type="exit")
        await worker.ended()
    ((level, text),) = worker.printed
    assert level == "warning"
    assert text.startswith(f"the worker ends in the middle of {names}: it does not wait for ")


class TestEnd:
    @pytest.mark.parametrize(
        "listener",
        [
            "def told(event):\n    print('told', event.detail.reason)\n    EdgeRuntime.wait_until(save())",
            "async def told(event):\n    print('told', event.detail.reason)\n    await save()",
            "async def told(event):\n    print('told', event.detail.reason)\n    await asyncio.sleep(0)\n"
            "    EdgeRuntime.wait_until(save())",
        ],
    )
    async def test_beforeunload_waits_for_what_its_listeners_start(self, function: MakeFunction, listener: str) -> None:
        source = f"""
opened = asyncio.Event()
async def save():
    await opened.wait()
    print("saved")

@add_event_listener("beforeunload")
{listener}

@serve
async def handler(request):
    opened.set()
    return Response()
"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="beforeunload", reason="wall_clock")
            await worker.log("told wall_clock")
            await worker.message("task_started")
            assert "unloaded" not in worker.kinds
            await worker.get()
            await worker.message("unloaded", reason="wall_clock")
            worker.say(type="beforeunload", reason="wall_clock")
            worker.say(type="beforeunload", reason="termination")
            await worker.message("unloaded", reason="termination")
        told = [text for _, text in worker.printed if text.startswith("told")]
        assert told == ["told wall_clock", "told termination"]
        assert worker.kinds.index("unloaded") > worker.messages.index(await worker.log("saved"))

    async def test_exit_dispatches_unload_and_loses_nothing(self, function: MakeFunction) -> None:
        source = """
            import atexit
            atexit.register(print, "atexit")
            add_event_listener("beforeunload", lambda event: print("never"))

            @add_event_listener("unload")
            async def unload(event):
                for number in range(20): print("unload", number)
                await asyncio.sleep(0)
                print("no line end", end="")

            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        told = [text for _, text in worker.printed]
        assert told == [*(f"unload {number}" for number in range(20)), "no line endatexit"]

    async def test_what_nobody_waits_for_is_named(self, function: MakeFunction) -> None:
        source = """
            from starlette.concurrency import run_in_threadpool

            async def forgotten(): await asyncio.Event().wait()
            async def ended(): await asyncio.Event().wait()

            begun = [asyncio.create_task(work()) for work in (forgotten, ended)]
            begun.append(asyncio.create_task(run_in_threadpool(threading.Event().wait)))
            add_event_listener("unload", lambda event: begun[1].cancel())
            serve(lambda request: Response())
        """
        await ends_in_the_middle_of("forgotten", function(source))

    async def test_threads_that_nobody_waits_for_are_named(self, function: MakeFunction) -> None:
        source = """
            from concurrent.futures import ThreadPoolExecutor

            begun = threading.Barrier(4)

            def mail(): begun.wait(); threading.Event().wait()
            def store(): begun.wait(); threading.Event().wait()
            def nobodys(): begun.wait(); threading.Event().wait()

            def remind(): pass
            def cancelled(): pass
            def stopped(): stop.wait()

            stop = threading.Event()
            threading.Thread(target=stopped).start()
            heeds = threading.Timer(3600, cancelled)
            heeds.start()
            add_event_listener("unload", lambda event: (heeds.cancel(), stop.set()))
            threading.Thread(target=mail).start()
            threading.Timer(3600, remind).start()
            threading.Thread(target=nobodys, daemon=True).start()
            pool = ThreadPoolExecutor(2)
            pool.submit(store)
            begun.wait()
            # One of its threads has nothing to do.
            pool.submit(int).result()
            serve(lambda request: Response())
        """
        await ends_in_the_middle_of("mail, remind, store", function(source))

    @pytest.mark.parametrize("who", ["a task", "a request"])
    async def test_the_parts_of_what_is_cut_off_are_not_named(self, function: MakeFunction, who: str) -> None:
        source = f"""
            async def part():
                print("begun")
                await asyncio.Event().wait()

            async def whole(): await asyncio.gather(part())

            if "{who}" == "a task": EdgeRuntime.wait_until(whole())

            @serve
            async def handler(request): await whole()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            _, writer = await worker.connect()
            if who == "a request":
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await worker.log("begun")
            worker.say(type="exit")
            await worker.ended()
            writer.close()
        assert worker.printed == [("info", "begun")]

    @pytest.mark.parametrize(
        "call",
        [
            "sys.exit(4)",
            "EdgeRuntime.wait_until(leave())",
            "asyncio.get_running_loop().call_soon(sys.exit, 4)",
            "EdgeRuntime.wait_until(asyncio.to_thread(sys.exit, 4))",
            # Nobody asks what becomes of it.
            "asyncio.get_running_loop().run_in_executor(None, sys.exit, 4)",
        ],
    )
    async def test_sys_exit_dispatches_unload_wherever_it_is_called(self, function: MakeFunction, call: str) -> None:
        source = f"""
            import atexit
            atexit.register(print, "atexit")

            async def leave(): sys.exit(4)

            @add_event_listener("unload")
            def unload(event):
                EdgeRuntime.wait_until(asyncio.sleep(0))
                print("unload")

            @serve
            async def handler(request):
                {call}
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == 4
        assert worker.printed == [("info", "unload"), ("info", "atexit")]

    @pytest.mark.parametrize("handler", ["def", "async def"])
    @pytest.mark.parametrize(("call", "code"), [("sys.exit(3)", 3), ("os._exit(3)", 3), ("exit()", 0)])
    async def test_user_code_that_exits_loses_nothing(
        self, function: MakeFunction, handler: str, call: str, code: int
    ) -> None:
        call = call.replace("exit()", "raise SystemExit") if call == "exit()" else call
        source = f"""
@serve
{handler} handler(request):
    for number in range(50): EdgeRuntime.wait_until(asyncio.Event().wait(), name=f"task {{number}}")
    {call}
"""
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == code
        names = [message["name"] for message in worker.messages if message["type"] == "task_started"]
        assert names == [f"task {number}" for number in range(50)]

    async def test_what_ends_it_waits_for_a_thread_that_is_speaking(self, function: MakeFunction) -> None:
        source = """
            from outlast.engines.python import control

            speaks, ends = threading.Event(), threading.Event()
            hand_over = control.Channel._hand_over

            def hand_over_slowly(self, data):
                if threading.current_thread() is not threading.main_thread():
                    speaks.set()
                    ends.wait()
                return hand_over(self, data)

            control.Channel._hand_over = hand_over_slowly

            @serve
            async def handler(request):
                # This thread goes on until it waits for something.
                sys.setswitchinterval(60)
                threading.Thread(target=print, args=["x" * 100_000]).start()
                speaks.wait()
                print("last words")
                ends.set()
                os._exit(3)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == 3
        assert worker.printed == [("info", "x" * 100_000), ("info", "last words")]

    async def test_nothing_interrupts_the_end(self, function: MakeFunction) -> None:
        source = """
            import contextlib, select, signal
            from outlast.engines.python import control

            finish = control.Channel.finish

            def finish_as_the_node_speaks(self):
                print("ends")
                self.flush()
                select.select([self._socket], [], [])
                signal.raise_signal(signal.SIGIO)
                signal.raise_signal(signal.SIGALRM)
                with contextlib.suppress(BlockingIOError):
                    self._socket.recv(1024)
                finish(self)

            control.Channel.finish = finish_as_the_node_speaks
            add_event_listener("beforeunload", lambda event: print("never"))

            @serve
            async def handler(request):
                os._exit(3)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            ended = asyncio.create_task(worker.ended_by_request())
            await worker.log("ends")
            worker.say(type="beforeunload", reason="termination")
            assert (await ended)[0] == 3
        assert worker.printed == [("info", "ends")]

    async def test_an_error_at_the_end_does_not_prevent_it(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                sys.__stdout__.close()
                print("last words")
                os._exit(3)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == 3
        assert worker.printed == [("info", "last words")]

    async def test_exit_inside_of_a_task(self, function: MakeFunction) -> None:
        source = """
            async def work():
                await asyncio.sleep(0)
                sys.exit(4)

            EdgeRuntime.wait_until(work())
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            assert (await worker.ended())[0] == 4
        assert "task_started" in worker.kinds
        assert "task_settled" not in worker.kinds

    @pytest.mark.parametrize(
        "work",
        ["ThreadPoolExecutor().submit(sys.exit, 4)", "asyncio.get_running_loop().run_in_executor(None, sys.exit, 4)"],
    )
    async def test_exit_in_a_thread_that_a_task_waits_for(self, function: MakeFunction, work: str) -> None:
        source = f"""
            from concurrent.futures import ThreadPoolExecutor

            @serve
            async def handler(request):
                EdgeRuntime.wait_until({work}, name="work")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == 4
        await worker.message("task_started", name="work")
        assert "task_settled" not in worker.kinds

    async def test_exit_in_a_pool_that_another_thread_forgets(self, function: MakeFunction) -> None:
        source = """
            import signal

            @serve
            async def handler(request):
                kept, done = [asyncio.get_running_loop().run_in_executor(None, sys.exit, 4)], threading.Event()
                kept[0].add_done_callback(lambda _: done.set())
                threading.Thread(target=forget, args=[kept, done]).start()
                return Response()

            def forget(kept, done):
                done.wait()
                # Until the loop is idle, which nothing tells.
                time.sleep(0.1)
                # Nothing else wakes the event loop, which has nothing to do any more.
                signal.setitimer(signal.ITIMER_REAL, 0)
                kept.clear()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.ended_by_request())[0] == 4

    async def test_segfault(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                import ctypes
                EdgeRuntime.wait_until(asyncio.Event().wait(), name="doomed")
                ctypes.string_at(0)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            code, err = await worker.ended_by_request()
        assert code == -signal.SIGSEGV
        assert "Fatal Python error: Segmentation fault" in err
        assert worker.messages[-1]["name"] == "doomed"

    async def test_a_child_of_its_own_is_no_worker(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                EdgeRuntime.wait_until(asyncio.Event().wait())
                sys.stdout.write("half a line, ")
                child = os.fork()
                if not child:
                    print("in the child")
                    sys.stdout.flush()
                    os._exit(0)
                os.waitpid(child, 0)
                print("in the worker")
                return Response("ok")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get()).body == b"ok"
            await worker.log("half a line, in the worker")
            assert worker.process.stdout is not None
            assert await worker.process.stdout.readline() == b"in the child\n"
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        assert [text for _, text in worker.printed] == ["half a line, in the worker"]

    async def test_what_a_child_of_its_own_logs_is_printed(self, function: MakeFunction) -> None:
        source = """
            import multiprocessing

            logger = logging.getLogger("shop")
            logger.addHandler(logging.StreamHandler(sys.stdout))

            def work():
                logging.getLogger("other").info("info")
                logger.error("error")
                warnings.warn("look out")
                thread = threading.Thread(target=lambda: 1 / 0)
                thread.start()
                thread.join()

            @serve
            def handler(request):
                child = multiprocessing.get_context("fork").Process(target=work)
                child.start()
                child.join()
                return Response("ok")
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert (await worker.get()).body == b"ok"
            worker.say(type="exit")
            assert worker.process.stdout is not None
            assert await worker.process.stdout.read() == b"info\n"
            errors = (await worker.ended())[1]
        assert errors.startswith("error\n")
        assert "UserWarning: look out" in errors
        assert "ZeroDivisionError" in errors

    @pytest.mark.parametrize("when", ["in standby", "ready", "blocked"])
    async def test_it_ends_with_its_node(self, function: MakeFunction, when: str) -> None:
        entrypoint = function("""
            @add_event_listener("unload")
            def never(event):
                while True: pass

            @serve
            async def handler(request):
                print("blocks")
                while True: time.sleep(0.1)
        """)
        async with standby(entrypoint) as worker:
            if when != "in standby":
                worker.boot(entrypoint)
                await worker.message("ready")
            if when == "blocked":
                _, writer = await worker.connect()
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                await worker.log("blocks")
                writer.close()
            worker.writer.close()
            assert (await worker.ended())[0] == 1


class TestStuckLoop:
    BLOCKING = """
def block(until):
    while time.monotonic() < until: time.sleep(0.02)

@add_event_listener("beforeunload")
def saving(event): print("told", event.detail.reason)

@serve
async def handler(request):
    block(time.monotonic() + float(request.query["s"]))
    return Response("ok")
"""

    async def test_the_blocking_frame_is_named_once_in_an_episode(self, function: MakeFunction) -> None:
        async with booted(function(self.BLOCKING)) as worker:
            await worker.message("ready")
            assert (await worker.get("/?s=2.5", request_id="r-3")).body == b"ok"
            (warning,) = [message for message in worker.messages if message["type"] == "log"]
            assert (warning["level"], warning["request"]) == ("warning", "r-3")
            assert "blocked for 1." in warning["text"]
            assert " by block (main.py, line " in warning["text"]
            assert "): no other request or task" in warning["text"]
            await worker.get("/?s=1.8", request_id="r-4")
            await worker.message("log", level="warning", request="r-4")

    async def test_it_hears_beforeunload_all_the_same(self, function: MakeFunction) -> None:
        async with booted(function(self.BLOCKING)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get("/?s=60"))
            await worker.message("log", level="warning")
            worker.say(type="beforeunload", reason="cpu")
            await worker.log("told cpu")
            await worker.message("unloaded", reason="cpu")
            request.cancel()


class TestBusyLoop:
    """What the node says is heard in the middle of code that does not yield."""

    SPINNING = """
heard = []

@add_event_listener("beforeunload")
def stop(event): heard.append(event.detail.reason)

async def spin(turn=lambda: None):
    while not heard: turn()
    return Response.json(heard)
"""

    @pytest.mark.parametrize("reason", ["cpu", "memory", "wall_clock"])
    async def test_a_listener_can_end_what_is_busy(self, function: MakeFunction, reason: str) -> None:
        source = """
@serve
async def handler(request):
    print("spins")
    return await spin()
"""
        async with booted(function(self.SPINNING + source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get(request_id="r-5"))
            await worker.log("spins")
            worker.say(type="beforeunload", reason=reason)
            assert json.loads((await request).body) == [reason]
            await worker.message("unloaded", reason=reason)
        # The event loop has never stood still for as long as is worth telling.
        assert worker.kinds.count("loop") == 0
        assert [text for _, text in worker.printed] == ["spins"]

    async def test_what_it_has_said_so_far(self, function: MakeFunction) -> None:
        source = """
@serve
async def handler(request):
    print("spins")
    return await spin()
"""
        async with booted(function(self.SPINNING + source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("spins")
            worker.say(type="ping", number=7)
            await worker.message("pong", number=7)
            worker.say(type="beforeunload", reason="cpu")
            await request

    @pytest.mark.parametrize(
        "call",
        ["time.sleep(0.01)", "json.dumps(list(range(1000)))", "hash(frozenset(range(100)))", "os.stat('.')"],
    )
    async def test_whatever_it_is_that_is_busy(self, function: MakeFunction, call: str) -> None:
        source = f"""
@serve
async def handler(request):
    print("spins")
    return await spin(lambda: {call})
"""
        async with booted(function(self.SPINNING + source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("spins")
            worker.say(type="beforeunload", reason="cpu")
            assert json.loads((await request).body) == ["cpu"]
        assert "loop" not in worker.kinds

    async def test_a_call_that_waits_for_the_kernel_is_interrupted_too(self, function: MakeFunction) -> None:
        source = """
            import socket
            ours, theirs = socket.socketpair()

            @add_event_listener("beforeunload")
            def wake(event): theirs.send(event.detail.reason.encode())

            @serve
            async def handler(request):
                print("waits")
                return Response(ours.recv(100))
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("waits")
            worker.say(type="beforeunload", reason="wall_clock")
            assert (await request).body == b"wall_clock"
        assert "loop" not in worker.kinds

    async def test_a_listener_that_is_busy_itself_hears_the_next_reason(self, function: MakeFunction) -> None:
        source = """
            heard = []

            @add_event_listener("beforeunload")
            def told(event):
                heard.append(event.detail.reason)
                print("told", event.detail.reason)
                while len(heard) < 3: pass
                print("done", event.detail.reason)

            @serve
            async def handler(request):
                print("spins")
                while not heard: pass
                return Response.json(heard)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get(request_id="r-5"))
            await worker.log("spins")
            for reason in ("cpu", "memory", "wall_clock"):
                worker.say(type="beforeunload", reason=reason)
                await worker.log(f"told {reason}")
            assert json.loads((await request).body) == ["cpu", "memory", "wall_clock"]
            for reason in ("cpu", "memory", "wall_clock"):
                await worker.message("unloaded", reason=reason)
            worker.say(type="beforeunload", reason="cpu")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
        printed = [(message["text"], message.get("request")) for message in worker.messages if message["type"] == "log"]
        # A listener belongs to no request, whatever it has interrupted.
        assert printed == [
            ("spins", "r-5"),
            *((f"told {reason}", None) for reason in ("cpu", "memory", "wall_clock")),
            *((f"done {reason}", None) for reason in ("wall_clock", "memory", "cpu")),
        ]

    @pytest.mark.parametrize("_chance", range(3))
    async def test_what_is_busy_with_printing_does_not_hold_up_what_the_listener_prints(
        self, function: MakeFunction, _chance: int
    ) -> None:
        source = """
            heard = []

            @add_event_listener("beforeunload")
            def told(event):
                heard.append(event.detail.reason)
                print("told", event.detail.reason)
                while len(heard) < 2: pass

            @serve
            async def handler(request):
                while not heard: print("busy")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("busy")
            worker.say(type="beforeunload", reason="cpu")
            await worker.log("told cpu")
            worker.say(type="beforeunload", reason="memory")
            assert (await request).status == 200

    async def test_what_waits_for_nothing_settles_behind_what_is_busy(self, function: MakeFunction) -> None:
        source = """
async def busy():
    print("busy")
    await spin()

@serve
async def handler(request):
    EdgeRuntime.wait_until(busy())
    EdgeRuntime.wait_until(asyncio.sleep(0))
    return Response()
"""
        async with booted(function(self.SPINNING + source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("busy")
            # Both are heard, one after the other, before the event loop has another turn.
            worker.say(type="beforeunload", reason="termination")
            worker.say(type="exit")
            assert await worker.ended() == (0, "")
            assert (await request).status == 200
        settled = [message["task"] for message in worker.messages if message["type"] == "task_settled"]
        assert settled == [1, 2]

    async def test_async_listeners_begin_when_the_loop_goes_on(self, function: MakeFunction) -> None:
        source = """
            heard = []

            @add_event_listener("beforeunload")
            def first(event): heard.append("sync")

            @add_event_listener("beforeunload")
            async def second(event):
                await asyncio.sleep(0)
                heard.append("async")
                print(heard)

            @serve
            async def handler(request):
                print("spins")
                while not heard: pass
                print(heard)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.log("spins")
            worker.say(type="beforeunload", reason="cpu")
            await request
            await worker.message("unloaded", reason="cpu")
        assert [text for _, text in worker.printed] == ["spins", "['sync']", "['sync', 'async']"]
        assert worker.kinds.index("unloaded") > worker.messages.index(await worker.log("['sync', 'async']"))

    async def test_a_loop_that_is_not_stuck_runs_the_listener_itself(self, function: MakeFunction) -> None:
        source = """
            @add_event_listener("beforeunload")
            def told(event):
                print([frame.name for frame in traceback.extract_stack() if frame.name == "handler"])

            @serve
            async def handler(request):
                if request.path == "/fn": await asyncio.Event().wait()
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            request = asyncio.create_task(worker.get())
            await worker.get("/other")
            worker.say(type="beforeunload", reason="termination")
            await worker.message("unloaded")
            request.cancel()
        assert [text for _, text in worker.printed] == ["[]"]


class TestOutput:
    async def test_levels_and_requests(self, function: MakeFunction) -> None:
        source = """
            logger = logging.getLogger("shop")

            @serve
            async def handler(request):
                sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
                print("one", 2, sep=", ")
                print("two\\nlines")
                print("to stderr", file=sys.stderr)
                sys.stdout.write("in ")
                sys.stdout.write("parts\\n")
                print("flushed", end="", flush=True)
                logger.debug("not shown")
                logger.info("info %d", 1)
                logger.warning("warning")
                logger.error("error")
                warnings.warn("old", DeprecationWarning)
                warnings.warn("look out")
                try: raise ValueError("no")
                except ValueError:
                    traceback.print_exc()
                    logger.exception("logged")
                print("\\udcff")
                print("unfinished", end="")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            await worker.log("unfinished")
        assert {message["request"] for message in worker.messages if message["type"] == "log"} == {"r-1"}
        assert worker.printed[:9] == [
            ("info", "one, 2"),
            ("info", "two\nlines"),
            ("error", "to stderr"),
            ("info", "in parts"),
            ("info", "flushed"),
            ("info", "info 1"),
            ("warning", "warning"),
            ("error", "error"),
            worker.printed[8],
        ]
        warned, printed, logged, surrogate, unfinished = worker.printed[8:]
        assert warned[0] == "warning"
        assert "UserWarning: look out" in warned[1]
        assert printed[0] == "error"
        assert printed[1].startswith("Traceback")
        assert printed[1].endswith("\nValueError: no")
        assert logged[1].startswith("logged\nTraceback")
        assert (surrogate, unfinished) == (("info", "\\udcff"), ("info", "unfinished"))

    @pytest.mark.parametrize(
        ("configuration", "lines"),
        [
            ("logging.basicConfig(level=logging.DEBUG)", ["debug:DEBUG:shop:d", "info:INFO:shop:i"]),
            ("logging.basicConfig(format='%(message)s!', stream=sys.stdout)", ["info:i!"]),
            ("logging.getLogger('shop').addHandler(logging.StreamHandler())", ["info:i"]),
            ("logging.getLogger('shop').setLevel('ERROR')", []),
            (
                # No handler of a stream, such as that of rich.
                "class Handler(logging.Handler):\n"
                "                def emit(self, record): print(record.msg, file=sys.stderr)\n"
                "            logging.basicConfig(handlers=[Handler()])",
                ["info:i"],
            ),
        ],
    )
    async def test_logging_is_the_functions_to_configure(
        self, function: MakeFunction, configuration: str, lines: list[str]
    ) -> None:
        source = f"""
            {configuration}

            @serve
            async def handler(request):
                logging.getLogger("shop").debug("d")
                logging.getLogger("shop").info("i")
                logging.getLogger("shop").error("e")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.message("log", level="error")
        assert [f"{level}:{text}" for level, text in worker.printed][:-1] == lines

    async def test_what_cannot_be_logged_is_told_of_in_one_piece(self, function: MakeFunction) -> None:
        source = """
            logging.basicConfig()

            class Odd:
                def __repr__(self): raise ValueError("no")

            @serve
            async def handler(request):
                logging.getLogger("shop").warning("%d pieces", "many")
                logging.getLogger("shop").info("of %s", Odd())
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            first = await worker.message("log", request="r-1")
        (level, text), (_, other) = worker.printed
        assert (level, first["text"]) == ("error", text)
        assert text.startswith("Traceback")
        said, where = text.splitlines()[-2:]
        assert said == "when this was to be logged: '%d pieces', with ('many',)"
        assert where.endswith("in handler")
        assert "an object of type tuple" in other

    async def test_a_line_that_a_handler_does_not_end_is_there_when_its_request_is_over(
        self, function: MakeFunction
    ) -> None:
        source = """
            class Handler(logging.Handler):
                def emit(self, record): sys.stderr.write(record.msg)

            @serve
            async def handler(request):
                own = Handler()
                own.handle(logging.makeLogRecord({"msg": "unfinished", "levelno": logging.WARNING}))
                own.handle(logging.makeLogRecord({"msg": "of no level"}))
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            assert (await worker.log("unfinished"))["level"] == "warning"
            assert (await worker.log("of no level"))["level"] == "error"

    @pytest.mark.parametrize(
        "handler",
        [
            "def handler(request): print('unfinished', end=''); return Response()",
            "async def handler(request):\n"
            "  await asyncio.get_running_loop().run_in_executor(None, sys.stdout.write, 'unfinished')\n"
            "  return Response()",
        ],
    )
    async def test_so_is_one_that_a_thread_has_begun_for_it(self, function: MakeFunction, handler: str) -> None:
        async with booted(function(f"@serve\n{handler}")) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            await worker.message("log", text="unfinished", request="r-1")

    async def test_a_text_that_carries_its_record_has_its_level(self, function: MakeFunction) -> None:
        """As loguru writes them."""
        source = """
            from types import SimpleNamespace

            class Message(str):
                pass

            for record in ({"level": SimpleNamespace(no=10)}, {"level": SimpleNamespace(no=30)}, {"level": "odd"}):
                message = Message("said\\n")
                message.record = record
                sys.stderr.write(message)
            sys.stderr.write(Message("said\\n"))
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
        assert worker.printed == [("debug", "said"), ("warning", "said"), ("error", "said"), ("error", "said")]

    async def test_threads_and_tasks_do_not_mix_their_lines(self, function: MakeFunction) -> None:
        source = """
            async def speak(name):
                for part in ("a ", "b ", name + "\\n"):
                    sys.stdout.write(part)
                    await asyncio.sleep(0)

            @serve
            async def handler(request):
                await speak(request.path)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await asyncio.gather(*(worker.get(f"/{number}", request_id=f"r-{number}") for number in range(5)))
            for number in range(5):
                assert (await worker.log(f"a b /{number}"))["request"] == f"r-{number}"

    async def test_what_goes_past_sys_stdout(self, function: MakeFunction) -> None:
        source = """
            sys.stdout.buffer.write(b"bytes\\n")
            sys.stdout.buffer.flush()
            os.system("echo child")
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert worker.process.stdout is not None
            assert await worker.process.stdout.readexactly(12) == b"bytes\nchild\n"

    async def test_what_goes_past_sys_stdout_is_there_when_it_is_flushed(self, function: MakeFunction) -> None:
        source = """
            print("raw", file=sys.__stdout__)
            sys.stdout.buffer.write(b"bytes\\n")
            sys.stdout.flush()
            serve(lambda request: Response())
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            assert worker.process.stdout is not None
            assert await asyncio.wait_for(worker.process.stdout.readexactly(10), 20) == b"raw\nbytes\n"

    async def test_the_stream_for_bytes_may_be_closed(self, function: MakeFunction) -> None:
        source = """
            import io

            print("bytes", file=io.TextIOWrapper(sys.stdout.buffer))
            sys.stderr.buffer.write(b"at the end")

            @serve
            async def handler(request):
                print("unfinished", end="")
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get(request_id="r-1")
            await worker.message("log", text="unfinished", request="r-1")
            worker.say(type="exit")
            assert worker.process.stdout is not None
            assert await asyncio.wait_for(worker.process.stdout.read(), 20) == b"bytes\n"
            assert await worker.process.wait() == 0
        assert "uncaught" not in worker.kinds

    @pytest.mark.parametrize("end", ["node", "code"])
    async def test_what_is_in_place_of_sys_stdout_loses_nothing(self, function: MakeFunction, end: str) -> None:
        source = """
            import io

            class Broken:
                def flush(self): raise ValueError("closed")

            sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
            sys.stderr = Broken()
            print("wrapped")

            @serve
            async def handler(request): os._exit(0)
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            if end == "node":
                worker.say(type="exit")
            else:
                _, writer = await worker.connect()
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert worker.process.stdout is not None
            assert await asyncio.wait_for(worker.process.stdout.read(), 20) == b"wrapped\n"
            assert await worker.process.wait() == 0

    async def test_more_than_the_channel_takes_at_once(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                print("x" * 3_000_000)
                print("\\0" * 300_000)
                for number in range(20_000): print("line", number)
                return Response()
        """
        async with booted(function(source)) as worker:
            await worker.message("ready")
            await worker.get()
            await worker.log("line 19999")
        long, zeros, *lines = [text for level, text in worker.printed if level == "info"]
        assert long.startswith("x" * 1000)
        assert long.endswith("[cut: it had 3000000 characters]")
        assert zeros.endswith("[cut: it had 300000 characters]")
        assert lines == [f"line {number}" for number in range(20_000)]


class TestSurroundings:
    async def test_its_environment_is_what_it_was_given(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                names = sorted(set(os.environ) - {"LANG", "LC_CTYPE"})
                return Response.json([names, __name__, os.getcwd(), threading.active_count()])
        """
        entrypoint = function(source)
        async with booted(entrypoint, GREETING="hi") as worker:
            await worker.message("ready")
            seen = json.loads((await worker.get()).body)
        assert seen == [["GREETING"], "main", str(entrypoint.parent), 1]
