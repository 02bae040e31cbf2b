"""`outlast doctor`, and what `outlast serve` says of the sandbox, on this machine and on worse ones."""

import os
import socket
import sys
from pathlib import Path

import pytest
from tests.support.commands import Result, run, run_apart
from tests.support.node import serving, write_project

from outlast.sandbox import landlock, layers

HELLO = 'Deno.serve(() => new Response("hello"))'

needs_landlock = pytest.mark.skipif(landlock.version() < 6, reason="needs a kernel with all of the sandbox")

WITHOUT = """
import errno, os, sys
from outlast.sandbox import kernel, seccomp
kernel.forbid_new_privileges()
seccomp.install(tuple(seccomp.Deny(name, error=errno.ENOSYS) for name in sys.argv[1].split(",")))
os.execv(sys.executable, [sys.executable, "-m", "outlast", *sys.argv[2:]])
"""
"""Runs Outlast as on a machine whose kernel has not got these calls."""


def lacking(without: str, *arguments: str) -> Result:
    """What a command ends with on such a machine."""
    return run_apart(sys.executable, "-c", WITHOUT, without, *arguments)


def findings(result: Result) -> dict[str, dict[str, str]]:
    """What doctor found, by name."""
    assert result.err == ""
    return {found["name"]: found for found in result.objects}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"hello": HELLO})


@needs_landlock
def test_all_is_well(project: Path) -> None:
    result = run("doctor", "--json", str(project))
    found = findings(result)
    assert result.code == 0
    assert {*layers.available().for_people} <= {*found}
    assert found["seccomp"]["state"] == found["hello"]["state"] == "ok"
    assert all(found[name]["detail"][0].isdigit() for name in ("outlast", "python", "deno", "uv"))


def test_for_people(project: Path) -> None:
    text = run("doctor", str(project)).out
    assert "ok       project  hello             typescript" in text
    assert "keeps out of reach" in text


def test_no_project_where_none_was_named(tmp_path: Path) -> None:
    found = findings(run("doctor", "--json", cwd=tmp_path))
    assert found["configuration"]["state"] == "note"


def test_no_project_where_one_was_named(tmp_path: Path) -> None:
    result = run("doctor", "--json", str(tmp_path))
    assert (result.code, findings(result)["configuration"]["state"]) == (1, "missing")


def test_a_project_that_cannot_be_read(project: Path) -> None:
    (project / "supabase/config.toml").write_text("[edge_runtime]\npolicy = 7\n")
    result = run("doctor", "--json", str(project))
    found = findings(result)
    assert (result.code, found["configuration"]["state"]) == (1, "missing")
    assert "config.toml:2" in found["configuration"]["detail"]


def test_a_project_that_cannot_be_written_to(project: Path) -> None:
    (project / ".outlast").touch()
    result = run("doctor", "--json", str(project))
    found = findings(result)
    assert (result.code, found[".outlast"]["state"]) == (1, "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can make files for somebody else")
def test_files_that_root_s_workers_may_not_read(project: Path) -> None:
    folder = project / "supabase/functions/hello"
    os.chown(folder, 4711, 4711)
    folder.chmod(0o700)
    result = run("doctor", "--json", str(project))
    found = findings(result)
    assert (result.code, found["hello"]["state"]) == (1, "missing")
    assert "4711" in found["hello"]["detail"]


@needs_landlock
def test_a_kernel_without_them(project: Path) -> None:
    result = lacking("landlock_create_ruleset,unshare", "doctor", "--json", str(project))
    found = findings(result)
    assert result.code == 1
    assert found["landlock"]["state"] == "missing"
    assert "lsm=landlock" in found["landlock"]["detail"]
    assert found["mounts"]["state"] == "note"


@needs_landlock
@pytest.mark.parametrize("without", ["landlock_create_ruleset", "landlock_create_ruleset,seccomp"])
def test_a_sandbox_that_is_required_and_cannot_be_had(project: Path, without: str) -> None:
    result = lacking(without, "serve", str(project), "--port=0", "--require-sandbox")
    assert result.code == 2
    assert result.err.count("\n") == 1
    for missing in ("landlock", *(["seccomp"] if "seccomp" in without else [])):
        assert f"{missing} (" in result.err


def test_required_and_refused(project: Path) -> None:
    result = run("serve", str(project), "--require-sandbox", "--no-sandbox")
    assert result.code == 2
    assert "--no-sandbox: contradicts --require-sandbox" in result.err


@needs_landlock
async def test_the_ready_line_names_what_is_active(project: Path) -> None:
    async with serving(project, "--require-sandbox") as node:
        assert node.found("ready")[0]["sandbox"] == layers.available().for_people
        assert not node.found("sandbox")


async def test_without_a_sandbox_it_says_so(project: Path) -> None:
    async with serving(project, "--no-sandbox") as node:
        assert node.found("ready")[0]["sandbox"] == []
        (warning,) = node.found("sandbox", level="warning")
        assert "whatever the user who runs Outlast may" in warning["msg"]


def test_what_is_lacking_is_said_by_the_event_loop_s_own_thread(project: Path) -> None:
    checked = ("env", "PYTHONASYNCIODEBUG=1", sys.executable, "-m", "outlast", "serve")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_apart(*checked, str(project), f"--port={port}", "--no-sandbox", "--log-format=json")
    assert [said["event"] for said in result.objects] == ["sandbox"]
    assert "is in use" in result.err
    assert "Traceback" not in result.err
