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
STARTER = """
import sys
from pathlib import Path
from outlast.testing import Server, SyncOutlast
from outlast.testing.asking import Asking
server = Server(Path(sys.argv[1]), Path(sys.argv[1], "log"))
worker = SyncOutlast(Asking(server)).invoke("which").text
print(server.pid, worker, flush=True)
sys.stdin.read()
"""


def ended(descriptor: int) -> bool:
    """Whether the process ends; ``descriptor``: of the process."""
    with open(descriptor, "rb", buffering=0) as file:
        return bool(select.select([file], [], [], PATIENCE_S)[0])


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open, which Linux has")
def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"which": "Deno.serve(() => new Response(String(Deno.pid)))"})
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        node, worker = (os.pidfd_open(int(pid)) for pid in starter.stdout.readline().split())
        starter.send_signal(signal.SIGKILL)
    assert ended(node)
    assert ended(worker)


def test_one_that_was_killed(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": 'Deno.serve(() => new Response("hello"))'})
    log = tmp_path / "log"
    with Server(project, log) as server:
        tests = SyncOutlast(Asking(server))
        assert tests.invoke("hello").text == "hello"
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(Failure, match=f"no whole answer: .*has ended .SIGKILL., its log is in {log}"):
            tests.invoke("hello")
        with pytest.raises(Failure, match=r"the server does not answer: .*SIGKILL"):
            tests.tasks()
    assert "listening on" in log.read_text()
    # Commands are about a server of the user's own.
    assert not (project / ".outlast" / "node.json").exists()
    assert (project / ".outlast" / ".gitignore").exists()


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"the project cannot be served: .*holds neither supabase/functions nor"):
        Server(tmp_path, tmp_path / "log")
