"""A Python worker that the kernel gives no more memory."""

import asyncio
import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_guest.python_worker import booted

from outlast.core.limits import Limits
from outlast.core.outcome import EndReason
from outlast.engines import backstop
from outlast.engines.processes import Exit

MakeFunction = Callable[[str], Path]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to RLIMIT_AS")

FILL = """
def fill(held=None):
    \"\"\"Leaves room neither for much nor for little, and touches next to nothing.\"\"\"
    held = held or [None]
    for size in (2**26, 2**20, 2**16, *range(496, 0, -16)):
        try:
            while True: held[0] = held[0], bytes(size)
        except MemoryError:
            pass
    while True: held[0] = held[0],
"""


class TestMemoryError:
    @pytest.mark.parametrize(
        "handler",
        [
            "async def handler(request):\n    return Response(bytes(2**36))",
            "async def handler(request):\n    fill()",
            "def handler(request):\n    fill()",
            # What nothing gives back.
            "kept = [None]\nasync def handler(request):\n    fill(kept)",
        ],
    )
    async def test_a_handler_that_gets_one_answers_500(self, function: MakeFunction, handler: str) -> None:
        source = f"""{FILL}
@serve
async def router(request):
    if request.path == "/fn":
        result = handler(request)
        return (await result) if asyncio.iscoroutine(result) else result
    return Response("ok")

{handler}
"""
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            answer = await worker.get(request_id="r-1")
            assert (answer.status, answer.body) == (500, b"Internal Server Error")
            uncaught = await worker.message("uncaught", request="r-1")
            assert uncaught["error"].endswith("\nMemoryError")
            # It is to be replaced; until then it goes on.
            assert (await worker.get("/other")).body == b"ok"

    @pytest.mark.parametrize("held", ["None", "kept"])
    async def test_an_application_that_gets_one(self, function: MakeFunction, held: str) -> None:
        source = f"""{FILL}
kept = [None]
async def app(scope, receive, send):
    if scope["type"] == "http":
        fill({held})
"""
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            assert (await worker.get()).status == 500
            assert (await worker.message("uncaught"))["error"].endswith("\nMemoryError")

    @pytest.mark.parametrize("work", ["bytes(2**36)", "fill()"])
    async def test_a_task_that_gets_one_is_told_of_as_an_error_that_nothing_caught(
        self, function: MakeFunction, work: str
    ) -> None:
        source = f"""{FILL}
async def work(): {work}

@serve
async def handler(request):
    EdgeRuntime.wait_until(work())
    return Response()
"""
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            await worker.get()
            settled = await worker.message("task_settled", outcome="rejected")
            assert settled["error"].endswith("\nMemoryError")
            await worker.message("uncaught")

    async def test_one_in_a_group_counts_too(self, function: MakeFunction) -> None:
        source = """
async def work(): bytes(2**36)

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())

@serve
async def handler(request):
    if request.path == "/here": await group()
    EdgeRuntime.wait_until(group())
    return Response()
"""
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            assert (await worker.get("/here", request_id="r-1")).status == 500
            await worker.message("uncaught", request="r-1")
            await worker.get(request_id="r-2")
            await worker.message("task_settled", outcome="rejected")
            await worker.message("uncaught", request="r-2")

    async def test_one_that_the_function_deals_with_is_its_own_business(self, function: MakeFunction) -> None:
        source = """
            @serve
            async def handler(request):
                try: bytes(2**36)
                except MemoryError: return Response("too much")
        """
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            assert (await worker.get()).body == b"too much"
        assert "uncaught" not in worker.kinds

    async def test_one_that_ends_the_process_is_the_memory_limit(self, function: MakeFunction) -> None:
        source = """
@serve
async def handler(request):
    try:
        bytes(2**36)
    except MemoryError as error:
        traceback.print_exception(error, file=sys.__stderr__)
        os._exit(1)
"""
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            code, err = await worker.ended_by_request()
        assert backstop.limit_reached(Exit(code, 10, 10), err, Limits()) is EndReason.MEMORY


class TestLimit:
    SHOW = """
        import resource

        @serve
        def handler(request):
            return Response.json([*resource.getrlimit(resource.RLIMIT_AS), open("/proc/self/status").read()])
    """

    async def test_it_leaves_room_for_threads(self, function: MakeFunction) -> None:
        source = """
            everyone = threading.Barrier(40)

            @serve
            def handler(request):
                everyone.wait()
                return Response(bytes(2**20))
        """
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            answers = await asyncio.gather(*(worker.get() for _ in range(40)))
        assert {answer.status for answer in answers} == {200}

    async def test_it_is_where_it_was_asked_for(self, function: MakeFunction) -> None:
        async with booted(function(self.SHOW), memory_mb=64) as worker:
            await worker.message("ready")
            soft, hard, status = json.loads((await worker.get()).body)
        used = int(re.search(r"VmSize:\s*(\d+)", status)[1]) * 1024  # type: ignore[index]
        assert 0 < hard - soft <= 2**25
        assert 2**30 < hard - used + 2**28 < 2**31

    async def test_no_limit_is_none(self, function: MakeFunction) -> None:
        async with booted(function(self.SHOW)) as worker:
            await worker.message("ready")
            assert json.loads((await worker.get()).body)[:2] == [*resource.getrlimit(resource.RLIMIT_AS)]
