"""What is kept of the log, for how long, and what listeners hear."""

import json

import msgspec

from outlast.telemetry import feed
from outlast.telemetry.feed import Wanted, as_json
from outlast.telemetry.logs import Format, Level, Log


class Served(msgspec.Struct, gc=False, omit_defaults=True):
    function: str = ""
    request_id: str = ""


def quiet_log(level: Level = Level.INFO) -> Log:
    return Log(lambda text: None, format=Format.JSON, level=level)


def recent(log: Log, limit: int = 100, **wanted: object) -> list[dict[str, object]]:
    return [json.loads(text) for text in as_json(log.feed.recent(Wanted(**wanted), limit))]  # type: ignore[arg-type]


def test_one_that_prints_without_end_pushes_out_none_of_the_others() -> None:
    log = quiet_log()
    log.emit("log", function="quiet", msg="said once")
    for number in range(3 * feed.KEPT_EVENTS):
        log.emit("log", function="loud", msg=str(number))
    assert [event["msg"] for event in recent(log, function="quiet")] == ["said once"]
    loud = recent(log, limit=10**6, function="loud")
    assert [event["msg"] for event in loud] == [str(n) for n in range(2 * feed.KEPT_EVENTS, 3 * feed.KEPT_EVENTS)]


def test_long_texts_are_kept_within_bounds() -> None:
    log = quiet_log()
    for number in range(200):
        log.emit("log", function="loud", msg=f"{number}:" + "x" * 60_000)
    kept = recent(log, limit=10**6)
    assert sum(len(str(event["msg"])) for event in kept) <= feed.KEPT_CHARS
    assert str(kept[-1]["msg"]).startswith("199:")
    assert len(kept) > 50


def test_the_latest_in_the_order_of_their_coming() -> None:
    log = quiet_log()
    for number in range(6):
        log.emit("log", function=f"f{number % 2}", msg=str(number))
    assert [event["msg"] for event in recent(log, limit=3)] == ["3", "4", "5"]
    assert recent(log, limit=0) == []


def test_by_request_level_and_kind() -> None:
    log = quiet_log()
    log.emit("log", function="f", request_id="r1", msg="a")
    log.emit("log", function="f", request_id="r2", msg="b", level=Level.ERROR)
    log.emit("boot", function="f", ms=1)
    assert [event["msg"] for event in recent(log, request_id="r1")] == ["a"]
    assert [event["msg"] for event in recent(log, level=Level.WARNING)] == ["b"]
    assert [event["event"] for event in recent(log, names=frozenset(["boot"]))] == ["boot"]


def test_what_is_not_written_is_kept_all_the_same_but_not_details() -> None:
    log = quiet_log(Level.ERROR)
    log.emit("log", msg="of interest")
    log.emit("log", msg="a detail", level=Level.DEBUG)
    assert [event["msg"] for event in recent(log)] == ["of interest"]


async def test_a_listener_hears_what_happens_with_every_request_too() -> None:
    log = quiet_log()
    log.emit_struct("request", Served(function="f", request_id="before"))
    listener = log.feed.listen(Wanted(function="f"))
    log.emit_struct("request", Served(function="f", request_id="r"))
    log.emit_struct("request", Served(function="g"))
    log.emit("log", function="f", msg="x")
    taken = await listener.take(10)
    assert taken is not None
    heard = [json.loads(text) for text in as_json(taken[0])]
    assert [(event["event"], event.get("request_id")) for event in heard] == [("request", "r"), ("log", None)]
    assert [event["event"] for event in recent(log)] == ["log"], "what happens with every request is not kept"


async def test_a_slow_listener_is_told_how_much_it_missed() -> None:
    log = quiet_log()
    listener = log.feed.listen(Wanted())
    for number in range(feed.PENDING_EVENTS + 3):
        log.emit("log", msg=str(number))
    taken = await listener.take(10)
    assert taken is not None
    events, missed = taken
    assert missed == 3
    assert len(events) == feed.PENDING_EVENTS
    log.emit("log", msg="afterwards")
    again = await listener.take(10)
    assert again is not None
    assert [len(again[0]), again[1]] == [1, 0]


async def test_a_listener_hears_the_end_after_what_came_before_it() -> None:
    log = quiet_log()
    listener = log.feed.listen(Wanted())
    log.emit("log", msg="last words")
    log.feed.close()
    log.emit("log", msg="unheard")
    taken = await listener.take(10)
    assert taken is not None
    assert len(taken[0]) == 1
    assert await listener.take(10) is None


async def test_nothing_new_is_no_end() -> None:
    assert await quiet_log().feed.listen(Wanted()).take(0) == ([], 0)
