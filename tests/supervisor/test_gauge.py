"""What the kernel tells of a process that is really there."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from outlast.supervisor.gauge import Gauge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")

MIB = 2**20
PATIENCE_S = 20


@contextlib.contextmanager
def process(code: str) -> Iterator[tuple[subprocess.Popen[str], Gauge]]:
    """A process that says "go" when it has done what it is for, and then waits."""
    running = subprocess.Popen(
        [sys.executable, "-S", "-c", f"{code}\nprint('go', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    gauge = Gauge(running.pid)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "go\n"
        yield running, gauge
    finally:
        gauge.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


BURN = "import time\nwhile time.process_time() < 0.2: pass"


def test_the_cpu_time_of_all_threads() -> None:
    code = """
import threading, time

def burn():
    while time.thread_time() < 0.1: pass

threads = [threading.Thread(target=burn) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    with process(code) as (_, gauge):
        assert gauge.cpu_ms() >= 200


def test_resident_memory() -> None:
    with process("") as (_, small), process(f"held = b'x' * {64 * MIB}") as (_, large):
        assert 60 <= large.memory_mb() - small.memory_mb() <= 70


def test_a_child_and_a_grandchild_count_as_family() -> None:
    code = f"""
import os, time
first = os.getpid()
done, say = os.pipe()
for _ in range(2):
    if os.fork():
        break
    while time.process_time() < 0.2: pass
    held = b"x" * {32 * MIB}
    os.write(say, b".")
if os.getpid() != first:
    time.sleep(1000)
os.read(done, 1)
os.read(done, 1)
"""
    with process(code) as (_, gauge):
        cpu_ms, memory_mb = gauge.family()
        assert cpu_ms - gauge.cpu_ms() >= 400
        assert memory_mb - gauge.memory_mb() >= 64


def test_the_time_of_children_that_were_waited_for_is_not_lost() -> None:
    code = f"import os\nif os.fork() == 0:\n {BURN.replace(chr(10), chr(10) + ' ')}\n os._exit(0)\nos.wait()"
    with process(code) as (_, gauge):
        assert gauge.family()[0] >= 190


def test_whether_the_first_thread_is_at_work() -> None:
    with process("") as (running, gauge):
        assert running.stdin is not None
        deadline = time.monotonic() + PATIENCE_S
        while gauge.is_running():
            assert time.monotonic() < deadline
    with process("print('go', flush=True)\nwhile True: pass") as (_, gauge):
        assert gauge.is_running()


def test_of_a_process_that_is_gone_the_last_reading_stays() -> None:
    with process(BURN) as (running, gauge):
        cpu_ms, memory_mb = gauge.family()
        running.kill()
        running.wait()
        assert gauge.family() >= (cpu_ms, 0)
        assert gauge.cpu_ms() >= 200
        assert gauge.memory_mb() == memory_mb
        assert not gauge.is_running()
