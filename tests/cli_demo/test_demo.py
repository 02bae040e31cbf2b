"""`outlast demo`, run as a user runs it."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.node import DENO_DIR

from outlast.cli import calls

ENV = {**os.environ, "DENO_DIR": str(DENO_DIR), "COLUMNS": "80"}
LINE = re.compile(r"^ *(\d+\.\d\d) s  (\S+) +(.*)$", re.MULTILINE)
COMMAND = [sys.executable, "-m", "outlast", "demo"]


def run(*arguments: str, command: list[str] = COMMAND, env: dict[str, str] = ENV) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run with its output piped, and the user's cache that it had."""
    cache = tmp_path_factory.mktemp("cache")
    env = {name: value for name, value in ENV.items() if name != "DENO_DIR"}
    return run("--once", env={**env, "XDG_CACHE_HOME": str(cache)}), cache


def test_all_goes_well(piped: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, cache = piped
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n5 responses, 4 background tasks, nothing lost.\n")
    assert "\x1b" not in done.stdout
    assert (cache / "outlast" / "deno").is_dir()


def test_every_task_ends_after_its_response(piped: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    events = [(float(at), function, what) for at, function, what in LINE.findall(piped[0].stdout)]
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    for call in calls.calls():
        shown = [what for _, function, what in events if function == call.function]
        (response,) = [index for index, what in enumerate(shown) if re.match(r"response 2\d\d  \{", what)]
        for task in (*call.tasks, *call.tasks_at_exit):
            (end,) = [index for index, what in enumerate(shown) if what.startswith(f'task "{task}" fulfilled, ')]
            assert end > response


def test_a_terminal_shows_tasks_while_they_are_open() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--once"], env={**ENV, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # how the end of a terminal reads on Linux
            break
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    row = re.search(r'background-task  task "make-report" [^\n]* \d\.\d s', text)
    assert row is not None
    assert row.start() < text.index('task "make-report" fulfilled')


@pytest.fixture
def going_on() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--port=0"],
        env=ENV,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    if process.poll() is None:
        # The test has failed. The signal it would have sent ends the workers too.
        process.send_signal(signal.SIGINT)
        process.communicate()


def test_without_once_it_goes_on_serving(going_on: subprocess.Popen[str]) -> None:
    assert going_on.stdout is not None
    shown = ""
    while "Ctrl-C ends the demo." not in shown:
        line = going_on.stdout.readline()
        assert line, shown
        shown += line
    url = re.search(r"curl (http://\S+/cleanup)", shown)
    functions = re.search(r"change a function below (\S+) ", shown)
    assert url is not None
    assert functions is not None
    function = Path(functions[1], "cleanup", "index.ts")
    assert function.exists()

    assert httpx.get(url[1]).json() == {"visits": 2}
    going_on.send_signal(signal.SIGINT)
    rest, errors = going_on.communicate()
    assert (going_on.returncode, errors) == (0, "")
    assert '"save-visits" fulfilled' in rest
    assert "2 visits saved" in rest
    assert not function.exists()


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(f"--port={port}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"outlast: 127.0.0.1:{port} is in use by another program")
    assert done.stderr.count("\n") == 1


def test_what_goes_wrong_is_told_and_fails(tmp_path: Path) -> None:
    functions = tmp_path / "supabase" / "functions"
    (functions / "broken").mkdir(parents=True)
    (functions / "broken" / "index.ts").write_text(
        """
        Deno.serve(() => {
          EdgeRuntime.waitUntil(Promise.reject(new Error("no disk")), { name: "save" })
          EdgeRuntime.waitUntil(Promise.resolve(), { name: "send" })
          return new Response("no", { status: 500 })
        })
        """
    )
    (tmp_path / "supabase" / "config.toml").write_text("[functions.broken]\nverify_jwt = false\n")
    (tmp_path / "calls.toml").write_text(
        '[[call]]\nfunction = "broken"\nshows = ""\ntasks = ["save", "send"]\ntasks_at_exit = ["never"]\n'
    )
    script = f"import pathlib; from outlast.cli import calls, demo; calls.EXAMPLES = pathlib.Path({str(tmp_path)!r})"
    done = run(command=[sys.executable, "-c", f"{script}; demo.demo(['--once'])"])
    assert (done.returncode, done.stderr) == (1, "")
    problems = [line for line in done.stdout.splitlines() if line.startswith("Went wrong: ")]
    assert "Went wrong: broken: answered 500" in problems
    assert 'Went wrong: broken: task "save" rejected' in problems
    assert 'Went wrong: broken: task "never" never ended' in problems
    assert not any("send" in problem for problem in problems)


def test_every_packaged_function_is_called() -> None:
    functions = {path.name for path in (calls.EXAMPLES / "supabase" / "functions").glob("[!_.]*")}
    assert {call.function for call in calls.calls()} == functions


@pytest.mark.parametrize("call", calls.calls(), ids=lambda call: call.function)
def test_calls_name_tasks_that_the_code_names(call: calls.Call) -> None:
    folder = calls.EXAMPLES / "supabase" / "functions" / call.function
    source = "".join(path.read_text() for path in folder.iterdir() if path.is_file())
    for task in (*call.tasks, *call.tasks_at_exit):
        assert f'"{task}"' in source
