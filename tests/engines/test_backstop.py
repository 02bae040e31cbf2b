"""What the kernel and V8 do about a worker that the node does not stop, and how it is known afterwards."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.deno_worker import DENO_DIR, ENV, booted, run, standby

from outlast.config.settings import FunctionSettings
from outlast.core.language import Language
from outlast.core.limits import Limits
from outlast.core.outcome import EndReason
from outlast.engines import backstop
from outlast.engines.deno import memory
from outlast.engines.deno.engine import DenoEngine
from outlast.engines.deno.rehearsal import Rehearsal
from outlast.engines.processes import Command, Exit, Spawner
from outlast.sandbox.walls import RLIMITS, Walls

MakeFunction = Callable[[str], Path]

V8_HEAP = """
<--- Last few GCs --->

[7:0x5] 427 ms: Mark-Compact (reduce) 62.4 (64.2) -> 62.4 (64.2) MB, last resort; GC in old space requested

#
# Fatal JavaScript out of memory: Reached heap limit
#
==== C stack trace ===============================

    /usr/bin/deno(+0x28ad64e) [0x5644db22e64e]"""
V8_PROCESS = """
#
# Fatal process out of memory: Failed to reserve virtual memory for CodeRange
#"""
PYTHON = 'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\nMemoryError'
NUMPY = "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array"


@pytest.mark.parametrize(
    ("code", "errors", "reason"),
    [
        (-signal.SIGTRAP, V8_HEAP, EndReason.MEMORY),
        (-signal.SIGILL, V8_HEAP, EndReason.MEMORY),
        (-signal.SIGTRAP, V8_PROCESS, EndReason.MEMORY),
        (-signal.SIGABRT, "Fatal process out of memory: Zone", EndReason.MEMORY),
        (-signal.SIGABRT, "memory allocation of 1073741824 bytes failed", EndReason.MEMORY),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'", EndReason.MEMORY),
        (1, PYTHON, EndReason.MEMORY),
        (1, PYTHON + ": of 3 GB\n", EndReason.MEMORY),
        (1, NUMPY, EndReason.MEMORY),
        (-signal.SIGXCPU, "", EndReason.CPU),
        # What speaks of memory and ends of something else.
        (0, V8_HEAP, None),
        (1, V8_HEAP, None),
        (-signal.SIGKILL, V8_HEAP, None),
        (0, PYTHON, None),
        (1, PYTHON + "\nValueError: something else", None),
        (1, "MyMemoryErrorHandler: done", None),
        (-signal.SIGSEGV, PYTHON, None),
        # Nothing that is known.
        (-signal.SIGTRAP, "# Fatal error in , line 0\n# Check failed: out of memory", None),
        (-signal.SIGABRT, "", None),
        (-signal.SIGKILL, "", None),
        (3, "", None),
        (None, V8_HEAP, None),
    ],
)
def test_the_limit_that_ended_a_process(code: int | None, errors: str, reason: EndReason | None) -> None:
    assert backstop.limit_reached(Exit(code, 10, 10), errors, Limits()) is reason


def test_what_takes_no_notice_of_sigxcpu_is_killed_of_the_same_cause() -> None:
    limits = Limits(cpu_hard_ms=2000, boot_timeout_ms=30_000)
    assert backstop.cpu_s(limits) == 62
    assert backstop.limit_reached(Exit(-signal.SIGKILL, 62_000, 10), "", limits) is EndReason.CPU
    assert backstop.limit_reached(Exit(-signal.SIGKILL, 61_999, 10), "", limits) is None
    assert backstop.limit_reached(Exit(-signal.SIGKILL, None, 10), "", limits) is None
    assert backstop.limit_reached(Exit(-signal.SIGKILL, 10**9, 10), "", Limits(cpu_hard_ms=0)) is None


def test_a_limit_that_is_off_is_off_for_the_kernel() -> None:
    assert backstop.cpu_s(Limits(cpu_hard_ms=0, cpu_soft_ms=0)) is None
    assert backstop.cpu_s(Limits(boot_timeout_ms=0)) is None
    assert backstop.cpu_s(Limits(cpu_hard_ms=1, boot_timeout_ms=1)) == 2
    assert memory.v8_flags(Limits(memory_mb=0)) == []
    assert memory.v8_flags(Limits(memory_mb=100)) == ["--v8-flags=--max-old-space-size=100"]
    assert memory.data_bytes(Limits(memory_mb=0), 2**29) is None
    assert memory.data_bytes(Limits(memory_mb=100), None) is None
    assert memory.data_bytes(Limits(memory_mb=100), 2**29) == 2**29 + (100 + memory.ROOM_MB) * 2**20


async def _dies(function: MakeFunction, source: str) -> tuple[int, str]:
    async with booted(function(f"Deno.serve(() => {{ {source} }})"), memory_mb=64) as worker:
        await worker.message("ready")
        _, writer = await worker.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        end = await worker.ended()
        writer.close()
        return end


def _data_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) * 1024


class TestDeno:
    async def test_a_full_heap_is_the_memory_limit(self, function: MakeFunction) -> None:
        code, err = await _dies(function, "const all: number[][] = []; for (;;) all.push(new Array(1000).fill(1.5));")
        assert backstop.limit_reached(Exit(code, 10, 10), err, Limits()) is EndReason.MEMORY

    @pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to RLIMIT_DATA")
    async def test_typed_arrays_are_refused(self, function: MakeFunction) -> None:
        source = """
          const fill = (mb: number) => {
            const all: Uint8Array[] = [];
            try {
              while (all.length < 10_000) all.push(new Uint8Array(mb * 2 ** 20));
            } catch (error) {
              return [String(error), all.length * mb];
            }
          };
          Deno.serve(() => Response.json(fill(16)));
        """
        async with booted(function(source), memory_mb=64) as worker:
            await worker.message("ready")
            error, mb = json.loads((await worker.get()).body)
            assert error == "RangeError: Array buffer allocation failed"
            assert 64 <= mb <= 64 + memory.ROOM_MB
            # They are garbage by now.
            assert json.loads((await worker.get()).body)[1] >= 64

    @pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to RLIMIT_DATA")
    async def test_its_own_memory_is_not_counted(self, function: MakeFunction) -> None:
        baseline = (await Rehearsal(run, ENV).learnt()).baseline
        assert baseline is not None
        async with standby(function("Deno.serve(() => new Response())"), memory_mb=64) as worker:
            data = _data_bytes(worker.process.pid)
        assert abs(data - baseline) < 32 * 2**20

    @pytest.mark.parametrize(
        ("source", "data"),
        [
            ("Deno.serve(() => new Response())", True),
            ("Deno.serve(() => { new Worker(import.meta.url, { type: 'module' }); return new Response() })", False),
            ("import { Worker } from 'node:worker_threads'; Deno.serve(() => new Response(String(Worker)))", False),
        ],
    )
    async def test_what_a_worker_is_started_with(self, function: MakeFunction, source: str, data: bool) -> None:
        entrypoint = function(source)
        settings = FunctionSettings(
            name="hello",
            language=Language.TYPESCRIPT,
            folder=entrypoint.parent,
            entrypoint=entrypoint,
            verify_jwt=False,
            env={},
            limits=Limits(memory_mb=100, cpu_hard_ms=2000, boot_timeout_ms=30_000),
        )
        engine = DenoEngine(
            run=run,
            state_dir=entrypoint.parents[1] / "state",
            functions_dir=entrypoint.parents[1],
            root=entrypoint.parents[1],
            environ={"DENO_DIR": str(DENO_DIR), "PATH": os.environ["PATH"]},
            layers=[RLIMITS],
        )
        program = await engine.prepare(settings)
        command = program.command(entrypoint.parents[1], "x")
        assert "--v8-flags=--max-old-space-size=100" in command.argv
        assert command.walls is not None
        assert command.walls.rlimits["CPU"] == 62
        assert ("DATA" in command.walls.rlimits) == (data and sys.platform == "linux")
        assert program.limit_reached(Exit(-signal.SIGTRAP, 10, 10), V8_HEAP) is EndReason.MEMORY


class TestCpu:
    async def test_computing_without_end(self) -> None:
        """As the kernel stops it, by way of the process that starts workers."""
        spawner = Spawner()
        walls = Walls(layers=[RLIMITS], rlimits={"CPU": 1})
        spins = Command([sys.executable, "-I", "-S", "-c", "while True: pass"], {}, Path("/"), walls=walls)
        try:
            process = await spawner.spawn(spins)
            os.close(process.stdout)
            os.close(process.stderr)
            ended = await process.exited
        finally:
            await spawner.close()
        assert ended.code == -signal.SIGXCPU
        assert backstop.limit_reached(ended, "", Limits()) is EndReason.CPU
