"""Every Python block of the guide runs."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.python_guest.python_worker import booted

GUIDE = Path(__file__).parents[2] / "docs/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
ORDERS, EVENTS, FASTAPI, COUNTING, UNIT_TEST = BLOCKS


@pytest.fixture
def guide(tmp_path: Path) -> Callable[[str], Path]:
    def make(source: str) -> Path:
        (tmp_path / "main.py").write_text(source)
        return tmp_path / "main.py"

    return make


async def test_the_first_function(guide: Callable[[str], Path]) -> None:
    async with booted(guide(ORDERS)) as worker:
        await worker.message("ready")
        raw = await worker.ask(b'POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{"id": 1}')
        assert raw.startswith(b"HTTP/1.1 202 ")
        await worker.message("task_started", name="store")
        await worker.log("stored {'id': 1}")
        worker.say(type="beforeunload", reason="early_drop")
        await worker.log("ending because of early_drop")


async def test_events(guide: Callable[[str], Path]) -> None:
    async with booted(guide(EVENTS)) as worker:
        await worker.message("ready")
        body = (await worker.get()).body.decode()
    assert [json.loads(data) for data in re.findall("^data: (.*)$", body, re.MULTILINE)] == [
        {"number": number} for number in range(3)
    ]


async def test_fastapi(guide: Callable[[str], Path]) -> None:
    async with booted(guide(FASTAPI)) as worker:
        await worker.message("ready")
        raw = await worker.ask(
            b"POST /signup/ada HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
        assert raw.endswith(b'{"welcome":"ada"}')
        await worker.message("task_settled", outcome="fulfilled")
        await worker.message("task_started", name="send_mail")
        await worker.log("mail to ada@example.com")


async def test_a_loop_that_can_be_told_to_stop(guide: Callable[[str], Path]) -> None:
    # Without the end that it comes to of itself, so that only the listener can end it.
    async with booted(guide(COUNTING.replace(" and numbers < 50_000_000", ""))) as worker:
        await worker.message("ready")
        request = asyncio.create_task(worker.get())
        # It has begun: nothing else of this worker goes on.
        await worker.message("loop", stuck=True)
        worker.say(type="beforeunload", reason="cpu")
        assert json.loads((await request).body)["complete"] is False


def test_a_unit_test_of_ones_own(guide: Callable[[str], Path]) -> None:
    # As a module: a script would go on to serve.
    script = guide(UNIT_TEST)
    ended = subprocess.run([sys.executable, "-c", "import main"], cwd=script.parent, capture_output=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, b"")
