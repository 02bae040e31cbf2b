"""What a forked worker is and what it is not, and what becomes of it when its zygote dies."""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.python_engine.conftest import Zygote, read_all, read_line

from outlast.engines.processes import Command, Spawner, SpawnError

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and pidfd_open(2)")

PORTRAIT = """
import gc, json, os, random, secrets, signal, sys, threading, uuid
print(json.dumps({
    "fds": sorted(int(fd) for fd in os.listdir("/dev/fd")),
    "threads": threading.active_count(),
    "env": dict(os.environ),
    "cwd": os.getcwd(),
    "argv": sys.argv,
    "group": os.getpgid(0) == os.getpid(),
    "random": [random.random(), secrets.token_hex(), str(uuid.uuid4())],
    "collects": gc.isenabled(),
    "writes_bytecode": not sys.dont_write_bytecode,
    "wakeup": signal.set_wakeup_fd(-1),
    "children": signal.getsignal(signal.SIGCHLD),
    "preloaded": [name in sys.modules for name in ("uvloop", "uvicorn", "starlette.requests", "ssl")],
    "foreign": [name for name in sys.modules if name.startswith(("outlast.supervisor", "outlast.config", "rich"))],
}))
"""


@pytest.fixture
async def mortal(tmp_path: Path) -> Any:
    """A zygote that a test may kill."""
    zygote = Zygote()
    yield zygote
    await zygote.spawner.close()


@linux
async def test_a_worker_has_no_more_memory_than_it_may(zygote: Zygote, tmp_path: Path) -> None:
    program = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_AS)))"
    unlimited = await zygote.ask(tmp_path / "a", program)
    assert unlimited == [*resource.getrlimit(resource.RLIMIT_AS)]
    (small, _), (large, most) = [await zygote.ask(tmp_path / str(mb), program, memory_mb=mb) for mb in (64, 128)]
    assert large - small == pytest.approx(2 * 64 * 2**20, abs=2**22)
    assert large < most


async def test_a_worker_has_what_it_was_given_and_nothing_else(zygote: Zygote, tmp_path: Path) -> None:
    portrait = await zygote.ask(tmp_path / "a", PORTRAIT, {"GREETING": "hällo", "TZ": "UTC"})
    # 4 is the one that the listing itself is read from.
    assert portrait["fds"] == [0, 1, 2, 3, 4]
    assert portrait["threads"] == 1
    assert portrait["env"] == {"GREETING": "hällo", "TZ": "UTC"}
    assert Path(portrait["cwd"]) == tmp_path / "a"
    assert portrait["argv"][1:] == []
    assert portrait["group"]
    assert portrait["collects"]
    assert not portrait["writes_bytecode"]
    assert portrait["wakeup"] == -1
    assert portrait["children"] == signal.SIG_DFL
    assert portrait["preloaded"] == [True] * 4
    assert portrait["foreign"] == []


async def test_no_two_workers_share_their_randomness(zygote: Zygote, tmp_path: Path) -> None:
    portraits = [await zygote.ask(tmp_path / str(number), PORTRAIT) for number in range(3)]
    values = [value for portrait in portraits for value in portrait["random"]]
    assert len(set(values)) == len(values)


@linux
async def test_the_zygote_has_one_thread_and_no_more_files_than_it_needs(zygote: Zygote, tmp_path: Path) -> None:
    pid = await zygote.ask(tmp_path / "w", "import os; print(os.getppid())")
    zygote_s = Path(f"/proc/{pid}")
    assert len([*zygote_s.joinpath("task").iterdir()]) == 1
    # Three of its own, the two ends of its wake-up pipe, and the line to its spare where there is one by now. Standard
    # input is its socket to the node.
    assert len([*zygote_s.joinpath("fd").iterdir()]) in (5, 6)
    assert zygote_s.joinpath("environ").read_bytes() == b""


async def test_modules_are_found_in_the_order_that_python_people_expect(zygote: Zygote, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    site_packages = environment / f"lib/python3.{sys.version_info.minor}/site-packages"
    own, functions = tmp_path / "functions" / "hello", tmp_path / "functions"
    for folder in (site_packages, own, functions / "_shared"):
        folder.mkdir(parents=True)
    for module in (
        own / "helper.py",
        functions / "_shared" / "__init__.py",
        site_packages / "helper.py",
        site_packages / "starlette_addition.py",
        # What the node has installed too, and has not loaded.
        site_packages / "rich.py",
        # No package takes the place of the standard library.
        site_packages / "tomllib.py",
        # Nor does another function's folder take anything's place.
        functions / "wave.py",
    ):
        module.write_text("MINE = True")
    (site_packages / "more.pth").write_text(str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    code = """
import json, sys
import helper, rich, starlette_addition, tomllib, wave, _shared
modules = (helper, starlette_addition, rich, tomllib, wave, _shared)
print(json.dumps([[hasattr(m, "MINE") for m in modules], helper.__file__, sys.path, sys.executable]))
"""
    mine, helper, path, executable = await zygote.ask(
        tmp_path / "w", code, code=[str(own)], shared=[str(functions)], environment=str(environment)
    )
    assert mine == [True, True, True, False, False, True]
    assert Path(helper) == own / "helper.py"
    assert path[0] == str(own)
    assert path[-1] == str(functions)
    assert str(tmp_path / "elsewhere") in path
    assert executable == str(environment / "bin" / "python")


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os; os._exit(4)", 4),
        ("raise RuntimeError('no')", 1),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import atexit; atexit.register(print, 'bye')", 0),
    ],
)
async def test_ends(zygote: Zygote, tmp_path: Path, code: str, end: int) -> None:
    process = await zygote.start(tmp_path / "w", code)
    out, err, used = await asyncio.gather(read_all(process.stdout), read_all(process.stderr), process.exited)
    assert used.code == end
    assert ("RuntimeError: no" in err) == (end == 1)
    assert out == ("bye\n" if end == 0 else "")
    assert used.memory_mb and used.memory_mb > 5


CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; print('here', flush=True); signal.pause()"])
"""


async def test_a_killed_worker_takes_its_children_with_it(zygote: Zygote, tmp_path: Path) -> None:
    process = await zygote.start(tmp_path / "w", f"{CHILD}child.wait()")
    assert await read_line(process.stdout) == "here"
    process.kill()
    assert (await process.exited).code == -signal.SIGKILL
    # The end of the pipe comes when nobody has it open any more.
    assert await read_all(process.stdout) == ""
    os.close(process.stderr)


async def test_so_does_one_that_ends_of_itself(zygote: Zygote, tmp_path: Path) -> None:
    process = await zygote.start(tmp_path / "w", f"{CHILD}import os; os.read(0, 1); os._exit(5)")
    assert (await process.exited).code == 5
    assert await read_all(process.stdout) in ("", "here\n")
    os.close(process.stderr)


NODE = """
import asyncio, sys
from pathlib import Path
from outlast.engines.processes import Command, Spawner

async def main():
    process = await Spawner().spawn(Command([sys.executable, "-c", sys.argv[1]], {}, Path("/")))
    await process.exited

asyncio.run(main())
"""


@linux
async def test_a_killed_node_takes_workers_and_their_children_with_it(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    held = f"held = open({str(fifo)!r}, 'w'); print('here', file=held, flush=True); signal.pause()"
    worker = f"import os, signal\nos.fork()\n{held}"
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, worker)
    # It can be opened when the first of the two has, and ends with the second.
    with await asyncio.to_thread(open, fifo) as pipe:
        assert [await asyncio.to_thread(pipe.readline) for _ in range(2)] == ["here\n"] * 2
        node.kill()
        assert await asyncio.to_thread(pipe.read) == ""
    assert await node.wait() == -signal.SIGKILL


async def kill_zygote(zygote: Zygote) -> int:
    child = zygote.spawner._child
    assert child is not None
    child.kill()
    return child.pid


async def wait_for_new(zygote: Zygote, folder: Path, old: int) -> None:
    """Until the node's side has noticed, and beyond."""
    while await zygote.ask(folder, "import os; print(os.getppid())") == old:
        pass


@linux
async def test_workers_outlive_their_zygote_and_their_end_is_noticed(mortal: Zygote, tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    code = f"print('up', flush=True); open({str(fifo)!r}).read(); print('done', flush=True)"
    one, two = [await mortal.start(tmp_path / name, code) for name in ("one", "two")]
    for process in (one, two):
        assert await read_line(process.stdout) == "up"

    old = await kill_zygote(mortal)
    await wait_for_new(mortal, tmp_path / "new", old)
    assert not one.exited.done()
    assert not two.exited.done()

    two.kill()
    assert (await two.exited).code is None
    with await asyncio.to_thread(open, fifo, "w"):
        pass
    end = await one.exited
    assert (end.code, end.cpu_ms, end.memory_mb) == (None, None, None)
    assert not end.regular
    assert await read_all(one.stdout) == "done\n"
    for descriptor in (one.stderr, two.stdout, two.stderr):
        os.close(descriptor)


@linux
async def test_closing_ends_those_that_outlived_their_zygote(mortal: Zygote, tmp_path: Path) -> None:
    process = await mortal.start(tmp_path / "w", "import signal; print('up', flush=True); signal.pause()")
    assert await read_line(process.stdout) == "up"
    old = await kill_zygote(mortal)
    await wait_for_new(mortal, tmp_path / "new", old)
    await mortal.spawner.close()
    assert (await process.exited).code == -signal.SIGKILL
    assert await read_all(process.stdout) == ""
    os.close(process.stderr)


async def test_a_worker_asked_for_while_the_zygote_dies_comes_from_the_next_one(mortal: Zygote, tmp_path: Path) -> None:
    old = await mortal.ask(tmp_path / "a", "import os; print(os.getppid())")
    # Stopped, it takes the request and does nothing with it until it is killed.
    os.kill(old, signal.SIGSTOP)
    asked = asyncio.ensure_future(mortal.ask(tmp_path / "b", "import os; print(os.getppid())"))
    await asyncio.sleep(0)
    os.kill(old, signal.SIGKILL)
    assert await asked != old


async def test_a_zygote_that_cannot_start_is_an_error_and_not_a_loop(tmp_path: Path) -> None:
    broken = Spawner((sys.executable, "-I", "-c", "pass"))
    with pytest.raises(SpawnError, match="the process that starts workers ended"):
        await broken.hello()
    with pytest.raises(SpawnError, match="the process that starts workers ended"):
        await broken.spawn(Command((), {}, tmp_path, fork={}))
    await broken.close()


async def test_a_worker_that_ends_at_once_is_reported_all_the_same(zygote: Zygote, tmp_path: Path) -> None:
    # Its start and its end may come in one piece.
    processes = await asyncio.gather(*(zygote.start(tmp_path / str(n), "import os; os._exit(7)") for n in range(8)))
    for process in processes:
        assert (await process.exited).code == 7
        os.close(process.stdout)
        os.close(process.stderr)
