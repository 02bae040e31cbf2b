"""What the log writes, byte for byte, in both formats."""

import json
import time
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.telemetry import logs
from outlast.telemetry.logs import Format, Level, Log
from outlast.telemetry.pretty import harmless

NOW = 1_764_590_584.123  # 2025-12-01T12:03:04.123Z
PREFIX = "12:03:04.123  "
Lines = list[str]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretty lines show local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def json_log(**options: object) -> tuple[Log, Lines]:
    written: Lines = []
    return Log(written.append, format=Format.JSON, clock=lambda: NOW, **options), written


def pretty_log(**options: object) -> tuple[Log, Lines]:
    written: Lines = []
    return Log(written.append, format=Format.PRETTY, clock=lambda: NOW, **options), written


def pretty(event: str, **fields: object) -> str:
    log, written = pretty_log()
    log.emit(event, **fields)
    assert len(written) == 1, "one write for an event"
    return written[0]


# -- levels -------------------------------------------------------------------------------------------------


def test_levels_are_ordered_and_named() -> None:
    assert Level.DEBUG < Level.INFO < Level.WARNING < Level.ERROR
    assert [level.label for level in Level] == ["debug", "info", "warning", "error"]
    assert [Level.named(level.label) for level in Level] == [*Level]


@pytest.mark.parametrize("make", [json_log, pretty_log])
def test_events_below_the_level_are_neither_formatted_nor_written(
    make: Callable[..., tuple[Log, Lines]],
) -> None:
    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    log, written = make(level=Level.WARNING)
    log.emit("request", level=Level.INFO, path=Untouchable())
    assert written == []
    log.emit("task", level=Level.WARNING, name="t")
    log.level = Level.DEBUG
    log.emit("request", level=Level.DEBUG, path="/")
    assert len(written) == 2


# -- JSON ---------------------------------------------------------------------------------------------------


def test_ready_line() -> None:
    log, written = json_log()
    log.emit("ready", url="http://127.0.0.1:54321", admin_url="http://127.0.0.1:54323")
    assert written == [
        '{"ts":"2025-12-01T12:03:04.123Z","level":"info","event":"ready",'
        '"url":"http://127.0.0.1:54321","admin_url":"http://127.0.0.1:54323"}\n'
    ]


def test_json_fields_come_in_their_order_and_none_is_left_out() -> None:
    log, written = json_log()
    log.emit(
        "task",
        name="send-email",
        outcome="rejected",
        ms=12.5,
        reason=None,
        msg="boom",
        task_id="t1",
        request_id="r1",
        execution_id="e1",
        function="hello",
        level=Level.ERROR,
    )
    log.emit("task", msg=None, function=None)
    assert written == [
        '{"ts":"2025-12-01T12:03:04.123Z","level":"error","event":"task","function":"hello","execution_id":"e1",'
        '"request_id":"r1","task_id":"t1","msg":"boom","name":"send-email","outcome":"rejected","ms":12.5}\n',
        '{"ts":"2025-12-01T12:03:04.123Z","level":"info","event":"task"}\n',
    ]


def test_time_stamps_move_with_the_clock_also_backwards() -> None:
    times = iter([NOW, NOW + 0.0045, NOW + 1, NOW - 86_400, 0.0])
    written: Lines = []
    log = Log(written.append, format=Format.JSON, clock=lambda: next(times))
    for _ in range(5):
        log.emit("boot")
    assert [json.loads(line)["ts"] for line in written] == [
        "2025-12-01T12:03:04.123Z",
        "2025-12-01T12:03:04.127Z",
        "2025-12-01T12:03:05.123Z",
        "2025-11-30T12:03:04.123Z",
        "1970-01-01T00:00:00.000Z",
    ]


def test_any_value_is_one_json_line() -> None:
    log, written = json_log()
    log.emit("log", msg="a\nb\r\x1b[31m\u2028 ☃", big=10**30, odd={1, 2}, nan=float("nan"), thing=Level)
    log.emit("log", msg="broken \udc80", big=10**30, ms=1.5, ok=True)
    assert [line.count("\n") for line in written] == [1, 1]
    first, second = map(json.loads, written)
    assert first["msg"] == "a\nb\r\x1b[31m\u2028 ☃"
    assert second == {
        "ts": "2025-12-01T12:03:04.123Z",
        "level": "info",
        "event": "log",
        "msg": "broken ?",
        "big": "1000000000000000000000000000000",
        "ms": 1.5,
        "ok": True,
    }


@given(st.text(alphabet=st.characters()), st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_any_text_is_one_json_line(msg: str, value: object) -> None:
    log, written = json_log()
    log.emit("log", msg=msg, value=value)
    assert len(written) == 1
    assert written[0].endswith("}\n")
    assert written[0].count("\n") == 1
    assert json.loads(written[0])["event"] == "log"


# -- long text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["msg", "stack"])
def test_long_text_is_cut_and_says_how_much_is_missing(name: str) -> None:
    log, written = json_log()
    log.emit("log", **{name: "x" * (logs.MAX_TEXT_BYTES + 1234)})
    assert json.loads(written[0])[name] == "x" * logs.MAX_TEXT_BYTES + "… (1,234 bytes left out)"


def test_text_of_just_the_limit_is_whole() -> None:
    log, written = json_log()
    for text in ("x" * logs.MAX_TEXT_BYTES, "☃" * (logs.MAX_TEXT_BYTES // 3)):
        log.emit("log", msg=text)
        assert json.loads(written.pop())["msg"] == text


def test_the_cut_never_goes_through_a_character() -> None:
    log, written = json_log()
    text = "☃" * (logs.MAX_TEXT_BYTES // 3 + 1)  # 65,535 bytes fit, one byte of the last one would
    log.emit("log", msg=text)
    assert json.loads(written[0])["msg"] == text[:-1] + "… (3 bytes left out)"


# -- pretty: sentences --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "fields", "sentence"),
    [
        (
            "ready",
            {"url": "http://h:1", "admin_url": "http://h:2"},
            "listening on http://h:1, admin API on http://h:2",
        ),
        ("ready", {"url": "http://h:1"}, "listening on http://h:1"),
        ("boot", {"ms": 23.4}, "started in 23 ms"),
        ("prepare", {"ms": 8142, "msg": "installed 11 packages"}, "installed 11 packages in 8,142 ms"),
        ("prepare", {"msg": "installing 11 packages"}, "installing 11 packages"),
        ("boot", {}, "started"),
        ("boot_failure", {"msg": "no such file"}, "failed to start: no such file"),
        (
            "boot_failure",
            {"reason": "boot_timeout", "ms": 30000},
            "failed to start after 30.0 s (boot timeout)",
        ),
        ("retire", {"reason": "cpu"}, "gets no new requests (cpu)"),
        ("beforeunload", {"reason": "wall_clock"}, "told that its end is near (wall clock)"),
        (
            "shutdown",
            {"reason": "early_drop", "cpu_ms": 45, "memory_mb": 38.2, "wall_ms": 12345},
            "ended after 12.3 s (early drop), 45 ms of CPU, 38 MiB",
        ),
        ("shutdown", {"reason": "memory"}, "ended (memory)"),
        ("shutdown", {"reason": "cpu", "used": 2003, "limit": 2000, "msg": "too much"}, "ended (cpu): too much"),
        ("log_suppressed", {"lines": 7, "since": "2025-12-01T12:03:03.000Z", "msg": "7 lines"}, "7 lines"),
        ("uncaught", {"msg": "Error: boom"}, "no one caught this: Error: boom"),
        (
            "task",
            {"name": "send-email", "outcome": "fulfilled", "ms": 1204},
            '"send-email" fulfilled in 1,204 ms',
        ),
        ("task", {"name": "a", "outcome": "timed_out", "ms": 3.25}, '"a" timed out after 3.2 ms'),
        ("task", {"name": "a", "outcome": "rejected", "ms": 3, "msg": "no"}, '"a" rejected after 3 ms: no'),
        (
            "task",
            {"name": "a", "outcome": "interrupted", "ms": 10, "reason": "wall_clock"},
            '"a" interrupted after 10 ms (wall clock)',
        ),
        ("task", {"outcome": "fulfilled", "ms": 1}, "a task without a name fulfilled in 1 ms"),
        (
            "request",
            {"method": "GET", "path": "/hello?a=1", "status": 200, "ms": 12.3},
            "GET /hello?a=1 200 in 12 ms",
        ),
        (
            "request",
            {"method": "GET", "path": "/", "status": 200, "ms": 812, "first_byte_ms": 3.5},
            "GET / 200 in 812 ms, first byte after 3.5 ms",
        ),
        ("reload", {"files": 3, "path": "a b", "msg": "changed"}, 'changed  files=3  path="a b"'),
        ("reload", {"files": 3, "why": ""}, 'files=3  why=""'),
        ("boot", {"ms": 5, "attempt": 2}, "started in 5 ms  attempt=2"),
    ],
)
def test_sentences(event: str, fields: dict[str, object], sentence: str) -> None:
    assert pretty(event, **fields) == f"{PREFIX}outlast           {event:12}  {sentence}\n"


def test_columns_are_aligned_and_ids_short() -> None:
    line = pretty(
        "task",
        function="hello",
        execution_id="01a2c3d4-a1b2",
        request_id="r",
        task_id="t",
        name="x",
        outcome="fulfilled",
        ms=1,
    )
    assert line == '12:03:04.123  hello       a1b2  task          "x" fulfilled in 1 ms\n'


def test_the_function_column_grows_with_the_names_seen_up_to_a_limit() -> None:
    log, written = pretty_log()
    for function in ("hello", "a-name-of-16-long", "hello", "n" * 40, "hello"):
        log.emit("boot", function=function)
    assert [line.index("boot") - len(PREFIX) - 8 for line in written] == [10, 17, 17, 40, 24]


def test_function_output_is_plain_text() -> None:
    assert pretty("log", function="hello", msg="  two  spaces\n") == (
        f"{PREFIX}hello             log             two  spaces\n"
    )
    assert pretty("log", function="hello", msg="oh", level=Level.ERROR) == (
        f"{PREFIX}hello             error         oh\n"
    )
    assert pretty("log", function="hello", msg="") == f"{PREFIX}hello             log\n"


def test_further_lines_are_folded_below() -> None:
    fold = " " * 16
    assert pretty("log", function="hello", msg="a\r\n  b\n\nc\n") == (
        f"{PREFIX}hello             log           a\n{fold}  b\n{fold}\n{fold}c\n"
    )
    assert pretty("uncaught", msg="Error: x", stack="Error: x\n    at f (a.ts:1:2)", attempt=1) == (
        f"{PREFIX}outlast           uncaught      no one caught this: Error: x  attempt=1\n{fold}    at f (a.ts:1:2)\n"
    )
    assert pretty("uncaught", msg="oh", stack="at f") == (
        f"{PREFIX}outlast           uncaught      no one caught this: oh\n{fold}at f\n"
    )


def test_a_traceback_is_headed_by_its_error() -> None:
    fold = " " * 16
    stack = 'Traceback (most recent call last):\n  File "main.py", line 3, in work\nValueError: no\n'
    assert pretty("task", name="a", outcome="rejected", ms=3, stack=stack) == (
        f'{PREFIX}outlast           task          "a" rejected after 3 ms: ValueError: no\n'
        f"{fold}Traceback (most recent call last):\n"
        f'{fold}  File "main.py", line 3, in work\n'
        f"{fold}ValueError: no\n"
    )


def test_a_traceback_of_a_group_is_headed_by_the_group() -> None:
    stack = (
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "main.py", line 3, in work\n'
        "  | ExceptionGroup: two things (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | ValueError: no\n"
        "    +------------------------------------\n"
    )
    shown = pretty("task", name="a", outcome="rejected", ms=3, stack=stack).splitlines()
    assert shown[0].endswith('"a" rejected after 3 ms: ExceptionGroup: two things (1 sub-exception)')
    assert [line.removeprefix(" " * 16) for line in shown[1:]] == stack.splitlines()


# -- pretty: terminals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("50%\r100%", "50%\\x0d100%"),
        ("a\bb\x00\x7f\x9b31m\x85", "a\\x08b\\x00\\x7f\\x9b31m\\x85"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb", "a\nb"),
        ("\u202egnp.exe\u2066\u2028x\u200f", "\\u202egnp.exe\\u2066\\u2028x\\u200f"),
        ("\udc80", "\\udc80"),
        ("naïve ☃ 漢字 🎉 é", "naïve ☃ 漢字 🎉 é"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text(alphabet=st.characters()))
def test_nothing_from_outside_steers_the_terminal_or_forges_a_line(text: str) -> None:
    for event in ("log", "task", "request", "uncaught", "boot_failure", "reload"):
        line = pretty(event, function=text, execution_id=text, msg=text, name=text, path=text, reason=text, other=text)
        assert line.endswith("\n")
        controls = {character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl")}
        assert controls <= {"\t", "\n"}
        first, *others = line.removesuffix("\n").split("\n")
        assert first.startswith(PREFIX)
        assert all(other.strip(" ") == "" or other.startswith(" " * 16) for other in others)
        line.encode()


def test_colour_marks_the_level_and_only_ours_reaches_the_terminal() -> None:
    log, written = pretty_log(colour=True)
    log.emit("log", function="hello", msg="\x1b[31mred", level=Level.WARNING)
    assert written == [
        "\x1b[2m12:03:04.123\x1b[0m  \x1b[1mhello     \x1b[0m  \x1b[2m    \x1b[0m  "
        "\x1b[33mwarning     \x1b[0m  \\x1b[31mred\n"
    ]
    log.emit("uncaught", level=Level.ERROR)
    log.emit("boot")
    log.level = Level.DEBUG
    log.emit("retire", level=Level.DEBUG)
    assert "\x1b[1;31muncaught" in written[1]
    assert "\x1b[36mboot" in written[2]
    assert "\x1b[2mretire" in written[3]


# -- the stream ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "disk full"), ValueError("I/O operation on closed file")]
)
def test_a_stream_that_fails_ends_nothing(error: Exception) -> None:
    written: Lines = []
    failing = True

    def write(text: str) -> None:
        if failing:
            raise error
        written.append(text)

    log = Log(write, format=Format.JSON, clock=lambda: NOW)
    log.emit("boot")
    log.emit("boot")
    failing = False
    log.emit("retire")
    assert [json.loads(line)["event"] for line in written] == ["retire"]
