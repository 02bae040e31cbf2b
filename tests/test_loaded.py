"""What a process loads: start-up and memory of a node are mostly that."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.node import write_project

UNUSED_BY_A_NODE = {"asyncpg", "cryptography", "jwt", "packaging", "prometheus_client", "rich", "starlette", "uvicorn"}
UNUSED_BY_COMMANDS = {*UNUSED_BY_A_NODE, "outlast.app", "outlast.supervisor", "uvloop", "watchfiles"}


def loaded(stderr: str) -> set[str]:
    """Of what ``-X importtime`` tells: modules, and the packages that they are of."""
    modules = set(re.findall(r"\| +([\w.]+)$", stderr, re.MULTILINE))
    return modules | {module.partition(".")[0] for module in modules}


def test_a_node_that_nobody_asks_anything_loads_what_serving_takes(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": 'Deno.serve(() => new Response("hello"))'})
    with subprocess.Popen(
        [
            *(sys.executable, "-X", "importtime", "-m", "outlast", "serve", str(project)),
            *("--port=0", "--admin-port=0", "--log-format=json", "--database=off"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert '"ready"' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
    found = loaded(stderr)
    assert "outlast.app" in found
    assert not UNUSED_BY_A_NODE & found


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["logs"]], ids=" ".join)
def test_a_command_loads_no_node(tmp_path: Path, arguments: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OUTLAST_")}
    command = [sys.executable, "-X", "importtime", "-m", "outlast", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    found = loaded(done.stderr)
    assert "outlast.cli" in found
    assert not UNUSED_BY_COMMANDS & found
