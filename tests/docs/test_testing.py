"""The project of docs/testing.md is served and tested as the page says."""

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.collector import free_port
from tests.support.node import DENO_DIR

TEXT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
FILES = re.findall(r"^`([\w./]+)`\n\n```(?:python|typescript)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHOWN = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MORE = {
    "tests/test_unsound.py": """
import pytest


def test_too_slow(outlast_sync):
    outlast_sync.invoke("thumbnails", json={"file": "cat.png"}).background(timeout=0.5)


def test_no_such_mail_service(outlast_sync):
    with outlast_sync.settings("signup", env={"MAIL_URL": f"{outlast_sync.url}/nobody"}):
        [task] = outlast_sync.invoke("signup", json={"address": "eve@example.com"}).background()
    assert task.outcome == "fulfilled"


@pytest.mark.outlast("thumbnails", limits={"wall_clock": 1})
def test_with_a_wrong_setting(outlast_sync):
    pass
""",
    "tests/test_waiting.py": """
import threading
from pathlib import Path


def test_that_waits(outlast_server):
    Path("pid").write_text(str(outlast_server.pid))
    threading.Event().wait()
""",
}


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    server_is_gone: bool


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of all tests of the page, and some that fail, until Ctrl-C."""
    project = tmp_path_factory.mktemp("page")
    for name, content in [*FILES, *MORE.items()]:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)
    os.mkfifo(project / "pid")
    # Those of the tests, in the order of their names, and then the one that waits.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
        # They take longer to load than these tests to run.
        *("-p", "no:schemathesis", "-p", "no:hypothesispytest"),
        cwd=project,
        env={**os.environ, "DENO_DIR": str(DENO_DIR)},
        # What runs in the background of a shell script is started to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    server = os.pidfd_open(int(await asyncio.to_thread((project / "pid").read_text)))
    # As a terminal does: to all that run in the foreground.
    os.killpg(process.pid, signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode is not None
    server_is_gone = bool(select.select([server], [], [], 0)[0])
    os.close(server)
    return Run(process.returncode, out.decode(), server_is_gone)


def test_every_block_belongs_to_a_file_or_shows_output() -> None:
    assert len(re.findall(r"^```\w+", TEXT, re.MULTILINE)) == len(FILES) + len(SHOWN) + len(COMMANDS)


async def test_the_tests_of_the_page_pass(run: Run) -> None:
    assert "2 failed, 7 passed, 1 error in " in run.out, run.out


async def test_a_task_that_never_settles_is_named(run: Run) -> None:
    for line in SHOWN[0].splitlines():
        assert re.search(alike(line), run.out), (line, run.out)


async def test_the_log_of_a_test_that_fails(run: Run) -> None:
    # Each ends at the next headline: what follows the last one, a summary, quotes the errors where CI is set.
    sections = re.findall(r"^-+ outlast log -+$(.*?)^[_=-]{3}", run.out, re.MULTILINE | re.DOTALL)
    assert len(sections) == 2, run.out
    assert "cat.png" in sections[0]
    assert "cat.png" not in sections[1]
    for line in SHOWN[1].splitlines():
        assert re.search(alike(line), run.out), (line, run.out)


async def test_a_wrong_setting(run: Run) -> None:
    where = "settings: functions.thumbnails.limits.wall_clock"
    assert re.search(rf"^{where}: there is no such key; did you mean wall_clock_ms\?$", run.out, re.MULTILINE)
    assert "During handling" not in run.out


def test_in_another_language(tmp_path: Path) -> None:
    for name, content in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    port = free_port()
    script = COMMANDS[-1].replace("serve", f"serve --port {port} --admin-port 0").replace("54321", str(port))
    done = subprocess.run(
        ["bash", "-ec", f"trap 'kill %1; wait' EXIT\n{script}"],
        cwd=tmp_path,
        env={**os.environ, "DENO_DIR": str(DENO_DIR), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done, (tmp_path / "outlast.log").read_text())
    assert '{"message":"ok"}' in done.stdout
    assert "ok | 1 passed | 0 failed" in re.sub(r"\x1b\[\d*m", "", done.stdout)


async def test_ctrl_c_leaves_nothing_behind(run: Run) -> None:
    assert (run.code, run.server_is_gone) == (pytest.ExitCode.INTERRUPTED, True)


def alike(line: str) -> str:
    """What differs from run to run may: ids, moments, durations, folders."""
    varying = "[0-9a-f:.-]+"
    pattern = varying.join(map(re.escape, re.split(r"[0-9a-f]*\d[0-9a-f:.-]*", line)))
    return pattern.replace("/srv/", r"/\S*/")
