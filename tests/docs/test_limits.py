"""The tables of docs/limits.md say what core decides: no more, no less."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from outlast.core import balance
from outlast.core.limits import Limits, Step, Usage, Verdict, judge
from outlast.core.outcome import EndReason, RequestEnd, TaskOutcome, UnloadReason
from outlast.gateway import answers, auth
from outlast.gateway.ports import Timeouts
from outlast.runtime.requests import Request
from outlast.runtime.serving import HandlerApp
from outlast.wire import http1

TEXT = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
PROSE = re.sub(r"\s+", " ", TEXT)

WORDS = {Step.FINE: "", Step.ALERT: "ended when idle", Step.RETIRE: "replaced", Step.WARN: "told", Step.KILL: "ended"}
# What uses up each limit that is a matter of measuring.
MEASURES = {
    "wall_clock_ms": "wall_ms",
    "cpu_soft_ms": "cpu_ms",
    "cpu_hard_ms": "cpu_ms",
    "memory_mb": "memory_mb",
    "idle_timeout_ms": "idle_ms",
}
NONE = Limits(**dict.fromkeys(asdict(Limits()), 0))


def rows(header: str) -> list[dict[str, str]]:
    """Of the table whose header begins like this; each cell by the name of its column."""
    table = re.search(rf"^{re.escape(header)}[^\n]*\n\| ---[^\n]*\n(?:\|[^\n]*\n)+", TEXT, re.MULTILINE)
    assert table is not None
    names, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[0].splitlines()]
    assert all(len(cells) == len(names) for cells in lines)
    return [dict(zip(names, cells, strict=True)) for cells in lines]


def unquoted(cell: str) -> str:
    return cell.strip("`")


LIMITS = {unquoted(row["key"]): row for row in rows("| key | default | what counts |")}


def test_every_limit_and_its_default() -> None:
    assert {key: int(unquoted(row["default"])) for key, row in LIMITS.items()} == asdict(Limits())


@pytest.mark.parametrize("key", LIMITS)
def test_what_happens_at_each_share_of_a_limit(key: str) -> None:
    shares = {name: int(name.removeprefix("at ").removesuffix(" %")) for name in LIMITS[key] if name.startswith("at ")}
    assert [*shares.values()] == [50, 90, 100]
    if key not in MEASURES:
        assert [bool(LIMITS[key][name]) for name in shares] == [False, False, True]
        return
    limit = 10_000
    said = ""
    for name, percent in shares.items():
        before, at = (
            WORDS[max((verdict.step for verdict in judge(used(key, amount), limited(key, limit))), default=Step.FINE)]
            for amount in (limit * percent / 100 - 1, limit * percent / 100)
        )
        assert before == said, "it does not begin earlier"
        said = LIMITS[key][name] or said
        assert at == said


def used(key: str, amount: float) -> Usage:
    return Usage(**{MEASURES[key]: amount})


def limited(key: str, limit: int) -> Limits:
    return Limits(**{**asdict(NONE), key: limit})


def test_the_reasons_that_listeners_hear() -> None:
    found = {unquoted(row["`detail.reason`"]): row["dispatched"] for row in rows("| `detail.reason` | dispatched |")}
    assert found.keys() == set(UnloadReason)
    for reason in EndReason:
        if reason.limit_key is not None:
            assert found[reason] == f"at 90 % of `{reason.limit_key}`"
            (verdict,) = judge(used(reason.limit_key, 90), limited(reason.limit_key, 100))
            assert verdict == Verdict(Step.WARN, UnloadReason(reason), 90, 100)


ENDS = {EndReason(unquoted(row["reason"])): row for row in rows("| reason | words in the log |")}


def test_every_end_of_a_worker_is_explained() -> None:
    assert ENDS.keys() == set(EndReason)


@pytest.mark.parametrize("reason", ENDS)
def test_the_end_of_a_worker(reason: EndReason) -> None:
    row = {name: unquoted(cell) for name, cell in ENDS[reason].items()}
    assert row["words in the log"] == reason.words
    assert row["limit"] == (reason.limit_key or "")
    if reason.limit_key is not None:
        assert row["`beforeunload`"] == reason
        assert row["answer"] == RequestEnd.WORKER_LIMIT.code
    else:
        assert row["`beforeunload`"] in ("", reason.unload_reason)
        assert row["answer"] in ("", *(end.code for end in RequestEnd if end is not RequestEnd.WORKER_LIMIT))


def test_every_answer() -> None:
    documented = {unquoted(row["code"]): (int(row["status"]), row["message"]) for row in rows("| code | status |")}
    assert documented == {end.code: (end.status, end.message) for end in RequestEnd}


async def test_the_answers_that_a_worker_gives_itself() -> None:
    async def throws(_: Request) -> None:
        raise ValueError

    async def returns_none(_: Request) -> None:
        pass

    found = {}
    for handler in (throws, returns_none):
        transport = httpx.ASGITransport(HandlerApp(handler))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
            answer = await client.get("/")
        found[answer.headers["sb-error-code"]] = (answer.status_code, answer.text)
    table = rows("| code | status | body |")
    assert {unquoted(row["code"]): (int(row["status"]), row["body"]) for row in table} == found


def test_who_has_no_valid_token() -> None:
    denials = [auth.MISSING, auth.MALFORMED, auth.UNKNOWN_KEY, auth.JwtVerifier().check(b"Bearer none")]
    found = [
        (denial.code, denial.status, denial.body.decode()) for denial in denials if isinstance(denial, auth.Denial)
    ]
    table = rows("| code | status | JSON |")
    assert [(unquoted(row["code"]), int(row["status"]), unquoted(row["JSON"])) for row in table] == found


def test_what_is_not_a_request() -> None:
    table = {int(row["status"]): row for row in rows("| code | status | when |")}
    assert {status: unquoted(row["code"]) for status, row in table.items()} == {
        status: answers.code_of(status) for status in (400, 408, 414, 417, 431)
    }
    assert f"longer than {http1.MAX_HEAD_BYTES // 1024} KiB" in table[431]["when"]
    assert f"more than {http1.MAX_FIELDS} fields" in table[431]["when"]
    timeouts = Timeouts()
    assert f"not complete {timeouts.head_s:g} s after its first byte" in table[408]["when"]
    assert f"nothing more of the body came for {timeouts.body_s:g} s" in table[408]["when"]
    assert f"cut off after {timeouts.send_s:g} s" in PROSE
    assert f"closed after {timeouts.keep_alive_s:g} s, a new one after {timeouts.head_s:g} s" in PROSE


def test_the_outcome_of_tasks_that_were_open() -> None:
    assert f"outcome `{TaskOutcome.INTERRUPTED}`" in TEXT


def test_the_examples_name_what_there_is() -> None:
    line, body = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    end = RequestEnd[body["code"]]
    reason = EndReason(body["reason"])
    assert body["message"] == end.message
    assert line["reason"] == reason
    assert (line["used"], line["limit"]) == (body["used"], body["limit"]) == (2003, Limits().cpu_hard_ms)
    assert line["msg"].startswith(f"{reason.words}: 2003 {reason.unit} used, 2000 {reason.unit} allowed")
    assert f"[functions.{line['function']}.limits] {reason.limit_key}" in line["msg"]


def test_the_pause_between_starts_that_fail() -> None:
    assert "Two workers may fail in a row" in PROSE
    assert balance.boot_delay_s(2) == 0
    assert "0.2 s, then twice as long each time, up to 8 s" in PROSE
    assert [balance.boot_delay_s(failures) for failures in (3, 4, 5, 99)] == pytest.approx([0.2, 0.4, 0.8, 8])
