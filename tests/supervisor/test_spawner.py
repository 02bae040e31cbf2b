"""Worker processes: how they are started, what they get, and that none of them is ever left behind."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from outlast.engines import processes
from outlast.engines.processes import Command, Exit, Process, Spawner, SpawnerGone, SpawnError

PATIENCE_S = 20
STANDARD_SIGNALS = 2**31 - 1
"""In a mask. Python 3.13 starts the spawner by posix_spawn(3), where the C library ignores a signal of its own."""

linux_only = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")


@pytest_asyncio.fixture(loop_scope="session")
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner()
    yield spawner
    await spawner.close()


def python(code: str, folder: Path = Path("/"), **env: str) -> Command:
    return Command([sys.executable, "-I", "-S", "-c", code], env, folder)


async def reader(descriptor: int) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", 0)
    )
    return stream


async def started(spawner: Spawner, code: str) -> tuple[Process, asyncio.StreamReader]:
    """A process that has come to the end of ``code``, and waits there."""
    process = await spawner.spawn(python(f"{code}\nprint('there', flush=True)\nimport time\ntime.sleep(600)"))
    out = await reader(process.stdout)
    assert await asyncio.wait_for(out.readline(), PATIENCE_S) == b"there\n"
    os.close(process.stderr)
    return process, out


async def over(pid: int) -> None:
    """Until a process that is not ours has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def open_descriptors() -> int:
    return len([*Path("/dev/fd").iterdir()])


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_output_exit_code_and_use(spawner: Spawner) -> None:
    result = await spawner.run(
        python("import sys; sys.stdout.write('out'); sys.stderr.write('err'); bytearray(50_000_000); sys.exit(7)")
    )
    assert (result.code, result.out, result.err) == (7, b"out", b"err")


async def test_what_it_used_is_known_at_its_end(spawner: Spawner) -> None:
    process = await spawner.spawn(python("import time; b = b'x' * 80_000_000\nwhile time.process_time() < 0.2: pass"))
    used = await asyncio.wait_for(process.exited, PATIENCE_S)
    assert (used.code, used.regular) == (0, True)
    assert used.cpu_ms is not None
    assert 200 <= used.cpu_ms < 5_000
    assert used.memory_mb is not None
    assert 76 <= used.memory_mb < 200
    for descriptor in (process.stdout, process.stderr):
        os.close(descriptor)


async def test_its_environment_and_folder_are_what_was_given(spawner: Spawner, tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), sorted(os.environ.items()))"
    result = await spawner.run(python(code, tmp_path, ONLY="this", LC_CTYPE="C.UTF-8"))
    expected = f"{tmp_path} [('LC_CTYPE', 'C.UTF-8'), ('ONLY', 'this')]\n"
    assert result.out.decode() == expected


async def test_a_large_environment_arrives(spawner: Spawner) -> None:
    value = "x" * 100_000
    result = await spawner.run(python("import os; print(len(os.environ['LARGE']))", LARGE=value))
    assert result.out == b"100000\n"


async def test_a_program_that_is_not_there(spawner: Spawner) -> None:
    result = await spawner.run(Command(["/no/such/program"], {}, Path("/")))
    assert result.code == 127
    assert b"could not be started" in result.err
    assert b"No such file" in result.err


async def test_a_folder_that_is_not_there(spawner: Spawner) -> None:
    result = await spawner.run(python("", Path("/no/such/folder")))
    assert result.code == 127
    assert b"/no/such/folder" in result.err


async def test_many_at_once(spawner: Spawner) -> None:
    results = await asyncio.gather(*(spawner.run(python(f"print({number})")) for number in range(60)))
    assert [int(result.out) for result in results] == [*range(60)]


async def test_a_run_that_is_cancelled_ends_the_program(spawner: Spawner, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = python(f"import os, time; open({str(fifo)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    running = asyncio.create_task(spawner.run(program))
    pid = int(await asyncio.to_thread(fifo.read_text))
    running.cancel()
    await over(pid)


async def test_a_run_that_is_cancelled_when_all_is_read_leaves_no_error(spawner: Spawner, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = python(f"import os; os.close(1); os.close(2); open({str(fifo)!r}).read()")
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    running = asyncio.create_task(spawner.run(program))
    with await asyncio.to_thread(fifo.open, "w"):
        # The program has closed its streams before this. The next answer comes when their ends have been read.
        await spawner.run(python(""))
        running.cancel()
        await asyncio.wait([running])
    await spawner.run(python(""))
    asyncio.get_running_loop().set_exception_handler(None)
    assert running.cancelled()
    assert not errors


@linux_only
async def test_it_inherits_nothing_but_its_streams_and_its_lifeline(spawner: Spawner) -> None:
    other, _ = await started(spawner, "")
    result = await spawner.run(
        python(
            "import os; print({int(n): os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]})"
        )
    )
    descriptors = eval(result.out)
    assert {*descriptors} == {0, 1, 2, 3}
    assert descriptors[0] == "/dev/null"
    assert all(descriptors[number].startswith("pipe:") for number in (1, 2, 3))
    assert len({*descriptors.values()}) == 4
    other.kill()
    await other.exited


@linux_only
async def test_signals_are_as_they_are_by_default(spawner: Spawner) -> None:
    program = Command(["/bin/sh", "-c", "grep ^Sig /proc/self/status"], {"PATH": "/bin:/usr/bin"}, Path("/"))
    result = await spawner.run(program)
    fields = dict(line.split(":\t") for line in result.out.decode().splitlines())
    for field in ("SigIgn", "SigBlk"):
        assert int(fields[field], 16) & STANDARD_SIGNALS == 0


async def test_a_kill_ends_it(spawner: Spawner) -> None:
    process, out = await started(spawner, "")
    process.kill()
    used = await asyncio.wait_for(process.exited, PATIENCE_S)
    assert used.code == -signal.SIGKILL
    assert not used.regular
    assert await out.read() == b""


@linux_only
@pytest.mark.parametrize("end", ["kill", "exit"])
async def test_what_it_had_started_ends_with_it(spawner: Spawner, end: str) -> None:
    code = (
        "import os, sys, time\npid = os.fork()\nif not pid: time.sleep(600)\nprint(pid, flush=True)\nsys.stdin.read()"
    )
    if end == "kill":
        code += "\ntime.sleep(600)"
    process = await spawner.spawn(python(code))
    grandchild = int(await (await reader(process.stdout)).readline())
    if end == "kill":
        process.kill()
    await asyncio.wait_for(process.exited, PATIENCE_S)
    await over(grandchild)
    os.close(process.stderr)


@linux_only
async def test_no_key_of_the_terminal_reaches_it(spawner: Spawner) -> None:
    process, _ = await started(spawner, "")
    assert os.getsid(process.pid) != os.getsid(0)
    assert os.getpgid(process.pid) == process.pid
    spawner_pid = int(status(process.pid)["PPid"])
    assert os.getpgid(spawner_pid) not in (os.getpgid(0), process.pid)


@linux_only
async def test_nobody_stays_a_zombie(spawner: Spawner) -> None:
    process, _ = await started(spawner, "")
    process.kill()
    await asyncio.wait_for(process.exited, PATIENCE_S)
    assert not exists(process.pid)


@linux_only
async def test_closing_the_spawner_ends_all_of_them() -> None:
    spawner = Spawner()
    process, _ = await started(spawner, "")
    spawner_pid = int(status(process.pid)["PPid"])
    await spawner.close()
    await over(process.pid)
    assert not exists(spawner_pid)
    assert process.exited.result() == Exit(-signal.SIGKILL, cpu_ms=None, memory_mb=None)


@linux_only
async def test_a_spawner_that_was_killed_is_started_anew(spawner: Spawner) -> None:
    process, _ = await started(spawner, "")
    os.kill(int(status(process.pid)["PPid"]), signal.SIGKILL)
    result = await spawner.run(python("print('new')"))
    assert result.out == b"new\n"
    # The old one's workers are looked after as before.
    process.kill()
    await asyncio.wait_for(process.exited, PATIENCE_S)


@linux_only
async def test_a_spawner_that_was_killed_in_the_middle_of_a_start(spawner: Spawner) -> None:
    process, _ = await started(spawner, "")
    spawner_pid = int(status(process.pid)["PPid"])
    os.kill(spawner_pid, signal.SIGSTOP)
    waiting = asyncio.create_task(spawner.run(python("print('at last')")))
    await asyncio.sleep(0)
    os.kill(spawner_pid, signal.SIGKILL)
    assert (await asyncio.wait_for(waiting, PATIENCE_S)).out == b"at last\n"


@linux_only
async def test_a_spawner_that_is_stuck_keeps_nobody_alive(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILLED_WITHIN_S", 0.1)
    doomed = [(await started(spawner, ""))[0] for _ in range(2)]
    other, _ = await started(spawner, "")
    stuck = int(status(other.pid)["PPid"])
    os.kill(stuck, signal.SIGSTOP)
    for process in doomed:
        process.kill()
    for process in doomed:
        assert not (await asyncio.wait_for(process.exited, PATIENCE_S)).regular
    await over(stuck)
    assert (await spawner.run(python("print('new')"))).out == b"new\n"
    assert exists(other.pid)
    other.kill()
    await asyncio.wait_for(other.exited, PATIENCE_S)


@linux_only
async def test_a_spawner_that_is_stuck_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILLED_WITHIN_S", 0.1)
    spawner = Spawner()
    process, _ = await started(spawner, "")
    os.kill(int(status(process.pid)["PPid"]), signal.SIGSTOP)
    await asyncio.wait_for(spawner.close(), PATIENCE_S)
    await over(process.pid)


@linux_only
async def test_a_spawner_that_is_stuck_holds_up_no_start(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    other, _ = await started(spawner, "")
    stuck = int(status(other.pid)["PPid"])
    os.kill(stuck, signal.SIGSTOP)
    with monkeypatch.context() as patience:
        patience.setattr(processes, "ANSWERED_WITHIN_S", 0.1)
        waiting = asyncio.create_task(spawner.run(python("print('new')")))
        # It has been asked, and the next one will have more time.
        await asyncio.sleep(0)
    assert (await asyncio.wait_for(waiting, PATIENCE_S)).out == b"new\n"
    await over(stuck)
    assert exists(other.pid)
    other.kill()
    await asyncio.wait_for(other.exited, PATIENCE_S)


BUSY = """
import json, socket, sys, time
node = socket.socket(fileno=0)
def say(**message): node.sendall(json.dumps(message).encode() + b"\\n")
say(hello={})
number = json.loads(node.recv(65536))["spawn"]
for _ in range(15):
    time.sleep(0.1)
    # As to others, before.
    say(failed=0, error="")
say(failed=number, error="as was to be")
node.recv(1)
"""


async def test_a_spawner_that_is_busy_with_others_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ANSWERED_WITHIN_S", 1.0)
    spawner = Spawner((sys.executable, "-I", "-S", "-c", BUSY))
    with pytest.raises(SpawnError, match="as was to be"):
        await asyncio.wait_for(spawner._spawn(python("")), PATIENCE_S)
    await spawner.close()


async def test_a_spawner_that_never_starts_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STARTED_WITHIN_S", 0.1)
    spawner = Spawner((sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"))
    with pytest.raises(SpawnerGone):
        await asyncio.wait_for(spawner.spawn(python("")), PATIENCE_S)
    # This waits for their ends.
    await asyncio.wait_for(spawner.close(), PATIENCE_S)


async def test_a_spawner_that_cannot_be_started_is_an_error_that_leaves_nothing_open(tmp_path: Path) -> None:
    spawner = Spawner((str(tmp_path / "nothing"),))
    before = open_descriptors()
    for asked in (spawner.hello(), spawner.spawn(python(""))):
        with pytest.raises(SpawnError, match=r"cannot be started: .*nothing"):
            await asked
    assert open_descriptors() == before
    await spawner.close()


async def test_descriptors_are_given_back(spawner: Spawner) -> None:
    await spawner.run(python(""))
    before = open_descriptors()
    for _ in range(5):
        await spawner.run(python(""))
    await asyncio.sleep(0)
    assert open_descriptors() <= before


@linux_only
async def test_a_run_that_is_cancelled_as_it_begins_leaves_no_descriptor_open(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spawner.run(python(""))
    before = open_descriptors()
    spawn = spawner.spawn

    async def spawn_in_vain(command: Command) -> Process:
        process = await spawn(command)
        asyncio.get_running_loop().call_soon(running.cancel)
        return process

    monkeypatch.setattr(spawner, "spawn", spawn_in_vain)
    running = asyncio.create_task(spawner.run(python("import time; time.sleep(600)")))
    with pytest.raises(asyncio.CancelledError):
        await running
    monkeypatch.undo()
    async with asyncio.timeout(PATIENCE_S):
        while open_descriptors() > before:
            await spawner.run(python(""))


@linux_only
async def test_too_many_open_files_is_an_error_that_leaves_none_open(spawner: Spawner) -> None:
    await spawner.run(python(""))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    next_ones = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    for descriptor in next_ones:
        os.close(descriptor)
    # Room for two.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(next_ones), limits[1]))
    try:
        with pytest.raises(SpawnError, match="Too many open files"):
            await spawner.run(python(""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_descriptors() == before
    assert (await spawner.run(python("print(1)"))).out == b"1\n"


NODE = """
import asyncio, os, sys
from pathlib import Path
from typing import Any
from outlast.engines.processes import Command, Spawner

async def main():
    spawner = Spawner()
    for code in ("import time; time.sleep(600)", "while True: pass", "import os, time; os.fork(); time.sleep(600)"):
        code = "print('up', flush=True)\\n" + code
        process = await spawner.spawn(Command([sys.executable, "-I", "-S", "-c", code], {}, Path("/")))
        await asyncio.to_thread(os.read, process.stdout, 10)
        print(process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def group(leader: int) -> set[int]:
    def group_of(pid: int) -> int:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(pid)
        return 0

    return {int(entry.name) for entry in Path("/proc").glob("[0-9]*") if group_of(int(entry.name)) == leader}


@linux_only
async def test_a_node_that_is_killed_takes_them_along() -> None:
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, stdout=asyncio.subprocess.PIPE)
    assert node.stdout is not None
    pids = [int(await node.stdout.readline()) for _ in range(3)]
    spawner = int(status(pids[0])["PPid"])
    everybody = {spawner, *group(pids[0]), *group(pids[1]), *group(pids[2])}
    assert {*pids} < everybody
    node.kill()
    await node.wait()
    for pid in everybody:
        await over(pid)


CARELESS = """
import asyncio, os, sys
from pathlib import Path
from typing import Any
from outlast.engines.processes import Command, Spawner

async def main():
    code = "import os, time; os.close(3); print('up', flush=True); time.sleep(600)"
    process = await Spawner().spawn(Command([sys.executable, "-I", "-S", "-c", code], {}, Path("/")))
    await asyncio.to_thread(os.read, process.stdout, 10)
    print(process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@linux_only
async def test_a_worker_without_its_lifeline_is_taken_along_too() -> None:
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", CARELESS, stdout=asyncio.subprocess.PIPE)
    assert node.stdout is not None
    pid = int(await node.stdout.readline())
    node.kill()
    await node.wait()
    await over(pid)
