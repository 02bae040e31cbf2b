"""Walls around real processes."""

import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from outlast.engines.processes import Command, Result, Spawner
from outlast.sandbox import landlock, layers, system
from outlast.sandbox.walls import CAPABILITIES, LANDLOCK, PRIVILEGES, RLIMITS, SECCOMP, Walls

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not landlock.version(), reason="needs Landlock")

ASK = """
import json, os, resource, socket, sys
def outcome(code):
    try:
        return eval(code)
    except OSError as error:
        return type(error).__name__
print(json.dumps([outcome(code) for code in json.loads(sys.argv[1])]))
"""


@pytest_asyncio.fixture(loop_scope="session")
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner()
    yield spawner
    await spawner.close()


def walls(*names: str, **more: Any) -> Walls:
    run = [*system.programs(), sys.prefix, sys.base_prefix]
    return Walls(layers=names, **{"files": system.facts(), "run": run, "devices": system.DEVICES, **more})


async def run(spawner: Spawner, built: Walls | None, *questions: str) -> Result:
    argv = [sys.executable, "-I", "-S", "-c", ASK, json.dumps(questions)]
    return await asyncio.wait_for(spawner.run(Command(argv, {}, Path("/"), walls=built)), 20)


async def ask(spawner: Spawner, built: Walls | None, *questions: str) -> list[Any]:
    """What Python says to each of these when it runs inside the walls."""
    result = await run(spawner, built, *questions)
    assert result.code == 0, result
    answers: list[Any] = json.loads(result.out)
    return answers


async def test_what_may_be_read_run_and_changed(spawner: Spawner, tmp_path: Path) -> None:
    for name in ("read", "run", "change", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name / "program").write_text("#!/bin/sh\nexit 5\n")
        (tmp_path / name / "program").chmod(0o755)
    (tmp_path / "change/link").symlink_to(tmp_path / "other/file")
    (tmp_path / "single").write_text("single")
    (tmp_path / "loop").symlink_to("loop")

    def questions(name: str) -> list[str]:
        folder = str(tmp_path / name)
        return [
            f"open({folder + '/file'!r}).read()",
            f"os.listdir({folder!r}) and 'listed'",
            f"os.spawnv(os.P_WAIT, {folder + '/program'!r}, ['program'])",
            f"open({folder + '/file'!r}, 'w').write('x')",
            f"os.mkdir({folder + '/new'!r})",
            f"os.truncate({folder + '/file'!r}, 1)",
            f"os.unlink({folder + '/file'!r})",
        ]

    everything = [question for name in ("read", "run", "change", "other") for question in questions(name)]
    built = walls(
        PRIVILEGES,
        LANDLOCK,
        files=[*system.facts(), str(tmp_path / "single"), str(tmp_path / "no file")],
        read=[str(tmp_path / name) for name in ("read", "no folder", "single/none", "loop")],
        run=[*walls().run, str(tmp_path / "run")],
        change=[str(tmp_path / "change")],
    )
    last = [f"open({str(tmp_path / 'change/link')!r}).read()", f"open({str(tmp_path / 'single')!r}).read()"]
    answers = await ask(spawner, built, *everything, *last)
    no = "PermissionError"
    assert answers[:7] == ["read", "listed", 127, no, no, no, no]
    assert answers[7:14] == ["run", "listed", 5, no, no, no, no]
    assert answers[14:21] == ["change", "listed", 127, 1, None, None, None]
    assert answers[21:28] == [no, no, 127, no, no, no, no]
    assert answers[28:] == [no, "single"]
    # And all of it is possible without walls.
    open_answers = await ask(spawner, None, *(question for name in ("read", "other") for question in questions(name)))
    done = ["listed", 5, 1, None, None, None]
    assert open_answers == ["read", *done, "other", *done]


async def test_sockets(spawner: Spawner, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    built = walls(PRIVILEGES, LANDLOCK, sockets=[str(tmp_path / "own")], listen_on=[47123])
    bind = "socket.socket(socket.AF_UNIX).bind({!r})"
    own, other = str(tmp_path / "own/a.sock"), str(tmp_path / "b.sock")
    questions = [bind.format(own), f"os.unlink({own!r})", bind.format(other), f"open({own!r}, 'w')"]
    assert await ask(spawner, built, *questions) == [None, None, "PermissionError", "PermissionError"]
    if landlock.version() >= 4:
        tcp = ["socket.socket().bind(('127.0.0.1', 0))", "socket.create_server(('127.0.0.1', 47123)).close()"]
        assert await ask(spawner, built, *tcp) == ["PermissionError", None]


@pytest.mark.skipif(landlock.version() < 6, reason="needs Landlock 6")
async def test_signals_and_abstract_sockets(spawner: Spawner) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0outlast-test-of-walls")
        server.listen()
        questions = [
            f"os.kill({os.getpid()}, 0)",
            "socket.socket(socket.AF_UNIX).connect('\\0outlast-test-of-walls')",
            "os.kill(os.getpid(), 0)",
        ]
        assert await ask(spawner, None, *questions) == [None, None, None]
        answers = await ask(spawner, walls(PRIVILEGES, LANDLOCK), *questions)
    assert answers == ["PermissionError", "PermissionError", None]


async def test_calls_privileges_limits(spawner: Spawner) -> None:
    built = walls(RLIMITS, PRIVILEGES, SECCOMP, CAPABILITIES, rlimits={"CORE": 0, "NOFILE": 100})
    flags = (
        "[line.split() for line in open('/proc/self/status') if line[:6] in ('NoNewP', 'Seccom', 'CapEff', 'CapPrm')]"
    )
    questions = [
        "os.setsid()",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "resource.getrlimit(resource.RLIMIT_NOFILE)",
        "resource.getrlimit(resource.RLIMIT_CORE)",
        "os.umask(0)",
        flags,
    ]
    *refused, nofile, core, umask, status = await ask(spawner, built, *questions)
    assert refused == ["PermissionError", "PermissionError"]
    assert (nofile, core, umask) == ([100, 100], [0, 0], 0o077)
    told = dict(each for each in status if len(each) == 2)
    assert told["NoNewPrivs:"] == "1"
    assert told["Seccomp:"] == "2"
    # Of a program that was run since, which would have given them back to root.
    assert int(told["CapEff:"], 16) == int(told["CapPrm:"], 16) == 0


async def test_limits_are_never_raised(spawner: Spawner) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is nothing above it")
    built = walls(RLIMITS, rlimits={"NOFILE": hard + 1})
    assert await ask(spawner, built, "resource.getrlimit(resource.RLIMIT_NOFILE)") == [[hard, hard]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do without no_new_privs")
async def test_a_layer_that_cannot_be_had_is_fatal(spawner: Spawner) -> None:
    result = await run(spawner, walls(SECCOMP), "1")
    assert result.code == 127
    assert b"its sandbox (seccomp) cannot be set up" in result.err


@pytest.mark.parametrize("built", [walls("moat"), walls(RLIMITS, rlimits={"HOPE": 1})])
async def test_what_nobody_knows_is_fatal(spawner: Spawner, built: Walls) -> None:
    result = await run(spawner, built, "1")
    assert result.code == 127
    assert b"the worker could not be started: its sandbox" in result.err


def test_what_this_machine_has() -> None:
    found = layers.available()
    assert f"landlock-{min(landlock.version(), 9)}" in found.for_people
    assert {"deno-permissions", "seccomp", "no_new_privs", "rlimits"} <= {*found.for_people}
    assert ("capabilities" in found.for_people) == (os.geteuid() == 0)
    assert {LANDLOCK, SECCOMP, PRIVILEGES, RLIMITS} <= {*found.for_walls}
