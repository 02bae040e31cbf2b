"""The worker's end of the control channel, stopped between any two steps of it, as by a SIGKILL."""

import asyncio
import contextlib
import io
import mmap
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from outlast.engines.python import control, output
from outlast.engines.python.control import Channel
from outlast.engines.python.output import Writer
from outlast.runtime import reports
from outlast.wire import kept, messages
from outlast.wire.framing import MAX_LINE_BYTES

TRACED = (control.__file__, kept.__file__)


class Rig:
    """A channel, and what would be known of it if its process died now."""

    def __init__(self, folder: Path, *, shares_memory: bool = True) -> None:
        self.memory = mmap.mmap(-1, kept.SIZE)
        self.loop = asyncio.new_event_loop()
        self.received = b""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "control.sock"))
            listening.listen()
            memory = self.memory if shares_memory else None
            path = str(folder / "control.sock")
            self.channel = Channel(self.loop, path, lambda _: None, lambda: pytest.fail("lost"), memory)
            self.node, _ = listening.accept()
        self.node.setblocking(False)

    def known(self) -> bytes:
        try:
            while data := self.node.recv(MAX_LINE_BYTES):
                self.received += data
        except BlockingIOError:
            pass
        return self.received + kept.left_behind(self.memory[:], len(self.received))

    def close(self) -> None:
        self.channel.abandon()
        self.loop.close()
        self.node.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own are too deep for the path of a socket.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def rig(folder: Path) -> Iterator[Rig]:
    rig = Rig(folder)
    yield rig
    rig.close()


def said(number: int) -> tuple[messages.FromWorker, bytes]:
    """Lines short and long, so that the ring is full now and then, and one that does not fit in it."""
    length = 100_000 if number == 20 else 9_000 if number % 3 else 10
    message = messages.Logged("info", f"{number} {'x' * length}")
    return message, messages.encode(message)


@contextlib.contextmanager
def at_each_step(do: Callable[[FrameType], object], files: Sequence[str] = TRACED) -> Iterator[None]:
    """Calls it before each step of the code in these files."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            do(frame)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def test_each_line_is_known_once_wherever_it_stops(rig: Rig) -> None:
    whole = b""
    """Of the lines whose sending has returned."""
    current = b""
    steps = 0

    def look(_: FrameType) -> None:
        nonlocal steps
        steps += 1
        known = rig.known()
        # A line on its way is known or not; one too long to be kept may be known in part.
        assert known.startswith(whole)
        assert current.startswith(known[len(whole) :])
        assert len(current) > kept.RING or known[len(whole) :] in (b"", current)

    for number in range(40):
        message, current = said(number)
        with at_each_step(look):
            rig.channel.send(message)
        whole, current = whole + current, b""
        assert rig.known() == whole
        if number % 7 == 0:
            with at_each_step(look):
                rig.channel.flush()
            assert rig.known() == rig.received == whole
    assert steps > 5_000


def test_who_speaks_in_the_middle_of_another_s_speaking_is_heard(rig: Rig) -> None:
    """As a handler of a signal does: between any two steps, it sends and flushes, and does not wait."""
    count = 0
    # A new place each time, so that each step is interrupted once.
    interrupted: set[tuple[object, int]] = set()

    def interrupt(frame: FrameType) -> None:
        nonlocal count
        place = frame.f_code, frame.f_lasti
        if place not in interrupted:
            interrupted.add(place)
            count += 1
            rig.channel.send(messages.TaskStarted(count))
            rig.channel.flush()

    for number in range(1, 30):
        with at_each_step(interrupt):
            rig.channel.send(messages.TaskStarted(1_000_000 + number))
    rig.channel.flush()
    assert rig.known() == rig.received
    heard = messages.decode_from_worker(rig.received.splitlines())
    numbers = [message.task for message in heard if isinstance(message, messages.TaskStarted)]
    assert sorted(numbers) == [*range(1, count + 1), *range(1_000_001, 1_000_030)]
    assert count > 100


def test_what_is_flushed_in_the_middle_of_another_flush_is_sent(rig: Rig) -> None:
    is_interrupted = True
    places: set[tuple[object, int]] = set()

    def interrupt(frame: FrameType) -> None:
        nonlocal is_interrupted
        place = frame.f_code, frame.f_lasti
        if not is_interrupted and place not in places:
            is_interrupted = True
            places.add(place)
            rig.channel.send(messages.TaskStarted(len(places)))
            rig.channel.flush()

    while is_interrupted:
        is_interrupted = False
        rig.channel._queue.append(messages.encode(messages.Logged("info", "x")))
        with at_each_step(interrupt):
            rig.channel.flush()
        assert rig.known() == rig.received
    assert len(places) > 50


def flush_while_another_thread_does(rig: Rig, step_before: int) -> bool:
    """Before this step of one flush, another thread has just asked for another, and goes on when the first is over.

    Returns whether there is such a step.
    """
    asked, goes_on = threading.Event(), threading.Event()
    steps = 0

    def pause(frame: FrameType, _event: str, _: Any) -> None:
        if frame.f_code is Channel.proceed.__code__:
            asked.set()
            goes_on.wait()

    def ask() -> None:
        sys.settrace(pause)
        rig.channel._queue.append(messages.encode(messages.TaskStarted(step_before)))
        rig.channel.flush()

    def step(_: FrameType) -> None:
        nonlocal steps
        if steps == step_before:
            thread.start()
            asked.wait()
        steps += 1

    thread = threading.Thread(target=ask)
    rig.channel._queue.append(messages.encode(messages.Logged("info", "x")))
    with at_each_step(step):
        rig.channel.flush()
    if steps <= step_before:
        return False
    goes_on.set()
    thread.join()
    return True


def test_what_another_thread_flushes_meanwhile_is_sent(rig: Rig) -> None:
    steps = 0
    while flush_while_another_thread_does(rig, steps):
        assert rig.known() == rig.received
        steps += 1
    assert steps > 50


def test_the_end_in_the_middle_of_keeping_sends_what_was_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "FINISHES_WITHIN_S", 0)
    rig = Rig(folder, shares_memory=False)
    while rig.channel._eager or not rig.channel._sent_at:
        rig.channel.send(messages.Logged("info", "at once"))
    rig.channel.send(messages.Logged("info", "kept"))
    put = kept.Kept.put

    def end(self: kept.Kept, line: bytes) -> bool:
        rig.channel.finish()
        return put(self, line)

    monkeypatch.setattr(kept.Kept, "put", end)
    rig.channel.send(messages.Logged("info", "interrupted"))
    rig.known()
    assert rig.received.endswith(messages.encode(messages.Logged("info", "kept")))
    monkeypatch.undo()
    rig.close()


def test_what_is_said_while_another_thread_waits_for_the_node_is_known(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, select = threading.Event(), control.select.select

    def wait(*what: Any) -> Any:
        full.set()
        return select(*what)

    def talk() -> None:
        while not full.is_set():
            rig.channel.send(messages.Logged("info", "x" * 9_000))
            rig.channel.flush()

    monkeypatch.setattr(control.select, "select", wait)
    thread = threading.Thread(target=talk)
    thread.start()
    full.wait()
    rig.channel.send(messages.TaskStarted(1))
    assert rig.memory.find(messages.encode(messages.TaskStarted(1))) >= 0
    while thread.is_alive():
        rig.known()
    # Whether the thread has sent it along depends on where in the ring it lies.
    rig.channel.flush()
    assert rig.known() == rig.received
    assert rig.received.count(messages.encode(messages.TaskStarted(1))) == 1


def test_what_begins_in_one_turn_is_handed_over_at_its_end(rig: Rig) -> None:
    for number in range(50):
        rig.channel.send(messages.TaskStarted(number))
    rig.known()
    assert rig.received.count(b"\n") == control.EAGER_SENDS
    rig.loop.call_later(0, rig.loop.stop)
    rig.loop.run_forever()
    rig.known()
    assert rig.received.count(b"\n") == 50


def test_without_memory_the_start_of_a_task_is_handed_over_at_once(folder: Path) -> None:
    rig = Rig(folder, shares_memory=False)
    for number in range(50):
        rig.channel.send(messages.TaskStarted(number))
        rig.channel.send(messages.Logged("info", "later"))
    rig.known()
    assert rig.received.count(b"task_started") == 50
    assert rig.received.endswith(messages.encode(messages.TaskStarted(49)))
    rig.close()


@pytest.mark.parametrize(
    ("send", "step_before"),
    [*((Writer.finish, step) for step in range(12)), *((Writer.flush, step) for step in range(32))],
)
def test_another_thread_ends_its_line_meanwhile(
    monkeypatch: pytest.MonkeyPatch, send: Callable[[Writer], None], step_before: int
) -> None:
    said: list[str] = []
    monkeypatch.setattr(reports, "send", lambda message: said.append(message.text))
    writer = Writer("info", io.StringIO())
    half, goes_on = threading.Event(), threading.Event()

    def talk() -> None:
        writer.write("half ")
        half.set()
        goes_on.wait()
        writer.write("a line\n")

    thread = threading.Thread(target=talk)
    thread.start()
    half.wait()
    steps = 0

    def step(_: FrameType) -> None:
        nonlocal steps
        if steps == step_before:
            goes_on.set()
            thread.join()
        steps += 1

    try:
        with at_each_step(step, [output.__file__]):
            send(writer)
    finally:
        goes_on.set()
        thread.join()
    assert "".join(said) == "half a line"
