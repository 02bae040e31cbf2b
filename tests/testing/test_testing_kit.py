"""What the fixtures can do."""

import asyncio
import json

import httpx
import pytest

from outlast.core.errors import OutlastError
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.testing import Failure, NotSettled, Outlast, Server, SyncOutlast

LOCAL_KEY = "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH"


class TestCalls:
    def test_an_answer(self, outlast_sync: SyncOutlast) -> None:
        answer = outlast_sync.invoke("jobs", params={"status": 418})
        assert answer.status == 418
        assert answer.headers["X-Own"] == "yes"
        assert answer.json()["method"] == "GET"
        assert json.loads(answer.text) == json.loads(answer.bytes) == answer.json()
        assert answer.request_id == answer.headers["sb-request-id"]
        assert answer.execution_id == answer.headers["x-sb-execution-id"]
        assert "jobs: 418" in repr(answer)

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"json": {"a": [1]}}, {"method": "POST", "type": "application/json", "body": '{"a":[1]}'}),
            ({"json": 0}, {"method": "POST", "body": "0"}),
            ({"data": "text"}, {"method": "POST", "body": "text"}),
            ({"data": b"\xc3\xa9"}, {"method": "POST", "body": "é"}),
            ({"data": ""}, {"method": "POST", "body": ""}),
            ({"data": {"a": "b c"}}, {"type": "application/x-www-form-urlencoded", "body": "a=b+c"}),
            ({"method": "DELETE"}, {"method": "DELETE"}),
            (
                {"method": "PUT", "data": "x", "headers": {"Content-Type": "text/x"}},
                {"method": "PUT", "type": "text/x"},
            ),
            ({"path": "/a/b", "params": {"c": "d e"}}, {"path": "/jobs/a/b", "query": "?c=d+e"}),
            ({"path": "a"}, {"path": "/jobs/a"}),
            ({}, {"path": "/jobs", "authorization": None}),
        ],
        ids=str,
    )
    def test_what_is_sent(
        self, outlast_sync: SyncOutlast, given: dict[str, object], expected: dict[str, object]
    ) -> None:
        told = outlast_sync.invoke("jobs", **given).json()  # type: ignore[arg-type]
        assert {name: told[name] for name in expected} == expected

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"json": {}, "data": "text"}, "json and data"),
            ({"json": {}, "data": {"a": "b"}}, "json and data"),
            ({"json": 0, "files": {"f": b""}}, "json and files"),
            ({"data": b"", "files": {"f": b""}}, "data and files"),
        ],
        ids=str,
    )
    def test_two_bodies(self, outlast_sync: SyncOutlast, given: dict[str, object], named: str) -> None:
        with pytest.raises(Failure, match=f"one body, not {named}; "):
            outlast_sync.invoke("jobs", **given)  # type: ignore[arg-type]

    async def test_files(self, outlast: Outlast) -> None:
        told = (await outlast.invoke("jobs", data={"a": "b"}, files={"f": ("name.txt", b"content")})).json()
        assert told["type"].startswith("multipart/form-data; boundary=")
        assert "content" in told["body"]
        assert 'name="a"' in told["body"]

    def test_who_calls(self, outlast_sync: SyncOutlast) -> None:
        assert outlast_sync.invoke("locked").text == f"Bearer {outlast_sync.anon_key}"
        assert outlast_sync.invoke("locked", headers={"Authorization": None}).status == 401
        assert outlast_sync.invoke("locked", headers={"authorization": "Bearer nobody"}).status == 401

    def test_an_api_key(self, outlast_sync: SyncOutlast) -> None:
        both = {"authorization": f"Bearer {LOCAL_KEY}", "apikey": LOCAL_KEY}
        assert outlast_sync.invoke("locked", headers=both).text == f"Bearer {LOCAL_KEY}"
        assert outlast_sync.invoke("locked", headers={"Authorization": None, "apikey": LOCAL_KEY}).status == 200
        answer = outlast_sync.invoke("locked", headers={"Authorization": None, "apikey": f"{LOCAL_KEY}X"})
        assert (answer.status, answer.json()) == (401, {"msg": "Unknown API key"})

    def test_no_such_function(self, outlast_sync: SyncOutlast) -> None:
        answer = outlast_sync.invoke("nobody")
        assert (answer.status, answer.execution_id) == (404, None)
        assert answer.background() == []

    def test_no_answer(self, outlast_sync: SyncOutlast) -> None:
        with pytest.raises(Failure, match=r"jobs has not answered within 0\.2 s"):
            outlast_sync.invoke("jobs", params={"silent": ""}, timeout=0.2)

    def test_other_clients(self, outlast_sync: SyncOutlast, outlast_server: Server) -> None:
        assert (outlast_sync.url, outlast_sync.anon_key) == (outlast_server.url, outlast_server.anon_key)
        response = httpx.get(f"{outlast_sync.url}/jobs?task=other")
        [task] = outlast_sync.tasks(request=response.headers["sb-request-id"])
        assert task.name == "other"


class TestBackground:
    async def test_outcomes(self, outlast: Outlast, jobs: str) -> None:
        answer = await outlast.invoke(jobs, params={"task": ["one", "two"], "bad": "three"})
        tasks = await answer.background()
        assert [(task.name, task.outcome) for task in tasks] == [
            ("one", "fulfilled"),
            ("two", "fulfilled"),
            ("three", "rejected"),
        ]
        assert "no paper" in (tasks[-1].error or "")
        assert {task.request_id for task in tasks} == {answer.request_id}

    def test_nothing(self, outlast_sync: SyncOutlast, jobs: str) -> None:
        assert outlast_sync.invoke(jobs).background() == []

    async def test_it_waits(self, outlast: Outlast, jobs: str) -> None:
        answer = await outlast.invoke(jobs, params={"open": "late"})
        waiting = asyncio.create_task(answer.background())
        [task] = await outlast.tasks(outcome="open")
        assert (task.name, task.settled) == ("late", None)
        assert not waiting.done()
        await outlast.invoke(jobs, params={"wake": ""})
        [task] = await waiting
        assert task.outcome is TaskOutcome.FULFILLED

    def test_what_never_settles(self, outlast_sync: SyncOutlast) -> None:
        answer = outlast_sync.invoke("jobs", params={"lines": 1, "task": "good", "open": ["mail", "print"]})
        with pytest.raises(NotSettled) as caught:
            answer.background(timeout=0.1)
        outlast_sync.invoke("jobs", params={"wake": ""})
        first, mail, print_, _, line = str(caught.value).splitlines()
        assert first == "2 background tasks of jobs have not settled within 0.1 s:"
        assert mail.startswith("  'mail', open for 0.")
        assert print_.startswith("  'print', open for 0.")
        assert line.endswith("line 0")
        assert issubclass(NotSettled, AssertionError)

    def test_all_is_known_when_asked(self, outlast_sync: SyncOutlast, jobs: str) -> None:
        # The answer overtakes what the worker says of tasks and lines, now and then, when there is much of it.
        names = [f"task {number}" for number in range(8)]
        for _ in range(15):
            answer = outlast_sync.invoke(jobs, params={"lines": 9, "task": names})
            assert len(outlast_sync.logs(request=answer)) == 9
            assert [task.name for task in answer.background()] == names


class TestWhatHappened:
    def test_tasks(self, outlast_sync: SyncOutlast) -> None:
        first = outlast_sync.invoke("jobs", params={"task": "a", "bad": "b"})
        # A response can overtake the news of the tasks that it leaves, and so could those of the next one.
        first.background()
        second = outlast_sync.invoke("pyjobs", params={"task": "a"})
        second.background()

        def names(**wanted: object) -> list[str | None]:
            return [task.name for task in outlast_sync.tasks(**wanted)]  # type: ignore[arg-type]

        assert names() == ["a", "b", "a"]
        assert names(function="pyjobs") == ["a"]
        assert names(outcome="rejected") == ["b"]
        assert names(name="a") == ["a", "a"]
        assert names(request=first) == ["a", "b"]
        assert names(request=second.request_id, outcome="rejected") == []
        with pytest.raises(Failure, match="it is fulfilled, rejected, timed_out, interrupted or open"):
            names(outcome="lost")

    async def test_only_of_this_test(self, outlast: Outlast) -> None:
        assert await outlast.tasks() == []
        assert await outlast.logs() == []

    async def test_log(self, outlast: Outlast) -> None:
        first = await outlast.invoke("jobs", params={"lines": 2, "warn": ""})
        second = await outlast.invoke("pyjobs", params={"lines": 1, "bad": "b"})
        await second.background()
        assert [line.msg for line in await outlast.logs(request=first)] == ["line 0", "line 1", "careful"]
        assert [line.msg for line in await outlast.logs(function="pyjobs")] == ["line 0"]
        [line] = await outlast.logs(level="warning")
        assert (line.msg, line.level, line.function, line.event) == ("careful", "warning", "jobs", "log")
        assert (line.request_id, line.execution_id) == (first.request_id, first.execution_id)
        [failed] = await outlast.logs(event="task")
        assert failed.fields["outcome"] == "rejected"
        assert {"log", "task"} <= {line.event for line in await outlast.logs(event=None)}


class TestSettings:
    def test_limits(self, outlast_sync: SyncOutlast, jobs: str) -> None:
        with outlast_sync.settings(jobs, limits={"cpu_hard_ms": 100}):
            answer = outlast_sync.invoke(jobs, params={"spin": ""})
        # They count for what was begun under them.
        [task] = answer.background()
        assert (task.outcome, task.reason) == ("interrupted", EndReason.CPU)

    def test_lines_that_are_logged(self, outlast_sync: SyncOutlast, jobs: str) -> None:
        with outlast_sync.settings(jobs, log={"lines_per_s": 1, "burst_lines": 1}):
            response = outlast_sync.invoke(jobs, params={"lines": "100"})
            logged = [line.msg for line in outlast_sync.logs(request=response)]
        assert logged[0] == "line 0"
        assert len(logged) < 100

    def test_variables(self, outlast_sync: SyncOutlast, jobs: str) -> None:
        def found() -> str:
            return outlast_sync.invoke(jobs, params={"env": "PLACE"}).text

        assert found() == ""
        # One after the other: while a worker still comes up for the settings before.
        for place in ("here", "there"):
            with outlast_sync.settings(env={"PLACE": place}):
                assert found() == place
                with outlast_sync.settings(jobs, env={"PLACE": "narrow"}):
                    assert found() == "narrow"
                assert found() == place
        assert found() == ""

    @pytest.mark.outlast("pyjobs", env={"PLACE": "the test"})
    def test_marker(self, outlast_sync: SyncOutlast) -> None:
        assert outlast_sync.invoke("pyjobs", params={"env": "PLACE"}).text == "the test"
        assert outlast_sync.invoke("jobs", params={"env": "PLACE"}).text == ""

    @pytest.mark.outlast("jobs", env={"PLACE": "outer"})
    @pytest.mark.outlast("jobs", env={"PLACE": "inner", "OTHER": "too"})
    def test_the_marker_that_is_closest_wins(self, outlast_sync: SyncOutlast) -> None:
        found = [outlast_sync.invoke("jobs", params={"env": name}).text for name in ("PLACE", "OTHER")]
        assert found == ["inner", "too"]

    @pytest.mark.outlast(policy="oneshot")
    async def test_policy(self, outlast: Outlast) -> None:
        [task] = await (await outlast.invoke("jobs", params={"open": "cut"})).background()
        assert (task.outcome, task.reason) == ("interrupted", "oneshot")
        with outlast.settings(oneshot_background="wait", limits={"wall_clock_ms": 200}):
            [task] = await (await outlast.invoke("jobs", params={"open": "cut"})).background()
        assert (task.outcome, task.reason) == ("interrupted", "wall_clock")

    @pytest.mark.parametrize(
        ("function", "given", "problem"),
        [
            ("jobs", {"limits": {"wall_clock": 1}}, "functions.jobs.limits.wall_clock: .*did you mean wall_clock_ms?"),
            ("jobs", {"log": {"lines": 1}}, "functions.jobs.log.lines: "),
            (None, {"limits": {"memory_mb": 1}}, "limits.memory_mb: 1 is not a whole number from 64"),
            (None, {"limits": {"cpu_hard_ms": "much"}}, r"Expected `int`, got `str` - at `\$.limits"),
            ("nobody", {"limits": {"memory_mb": 64}}, "functions.nobody: there is no such function; there are: jobs"),
            (None, {"policy": "never"}, "'never'"),
            ("jobs", {"policy": "oneshot"}, "for all functions: it cannot be set for 'jobs' alone"),
            (None, {"env": {"SUPABASE_X": "x"}}, "env.SUPABASE_X: "),
        ],
        ids=str,
    )
    def test_what_cannot_be_set(
        self, outlast_sync: SyncOutlast, function: str | None, given: dict[str, object], problem: str
    ) -> None:
        with pytest.raises(Failure, match=problem), outlast_sync.settings(function, **given):  # type: ignore[arg-type]
            pass
        assert outlast_sync.invoke("jobs").status == 200


def test_errors_of_the_kit_are_not_those_of_the_node() -> None:
    # Whoever expects an error of the functions' own must not catch the kit's.
    assert not issubclass(Failure, OutlastError | AssertionError)
