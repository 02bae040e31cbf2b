"""How the server of the tests begins and ends."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.node import write_project

from outlast.testing import Failure, Server, SyncOutlast
from outlast.testing.asking import Asking

PATIENCE_S = 20
HELLO = 'Deno.serve(() => new Response("hello"))'
STARTER = """
import sys
from pathlib import Path
from outlast.testing import Server
print(Server(Path(sys.argv[1]), Path(sys.argv[1], "log")).pid, flush=True)
sys.stdin.read()
"""


def ended(descriptor: int) -> bool:
    """Whether the process ends; ``descriptor``: of the process."""
    with open(descriptor, "rb", buffering=0) as file:
        return bool(select.select([file], [], [], PATIENCE_S)[0])


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open, which Linux has")
def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": HELLO})
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        server = os.pidfd_open(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
    assert ended(server)


def test_one_that_was_killed(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": HELLO})
    log = tmp_path / "log"
    with Server(project, log) as server:
        tests = SyncOutlast(Asking(server))
        assert tests.invoke("nobody").status == 404
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(Failure, match=f"no whole answer: .*has ended .SIGKILL., its log is in {log}"):
            tests.invoke("hello")
        with pytest.raises(Failure, match=r"the server does not answer: .*SIGKILL"):
            tests.tasks()
    assert "listening on" in log.read_text()
    # Commands are about a server of the user's own.
    assert not (project / ".outlast" / "node.json").exists()
    assert (project / ".outlast" / ".gitignore").exists()


def session(folder: Path, *arguments: str) -> str:
    """What pytest says of one test that calls a function."""
    (folder / "test_it.py").write_text("def test_it(outlast_sync): pass")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "outlast.testing.plugin", *arguments]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def test_no_project(tmp_path: Path) -> None:
    out = session(tmp_path)
    assert f"there is no supabase/functions in {tmp_path} or a folder above it; name the project with" in out
    assert "1 error" in out


def test_the_project_of_the_settings_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\noutlast_project = app\n")
    assert f"the project cannot be served: {tmp_path / 'app'}: there is no such file or folder" in session(tmp_path)


def test_the_project_of_the_command_line_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\noutlast_project = app\n")
    out = session(tmp_path, "--outlast-project=other")
    assert f"the project cannot be served: {tmp_path / 'other'}: there is no such file or folder" in out
