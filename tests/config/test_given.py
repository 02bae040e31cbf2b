"""Settings that are given over those of the files."""

import pytest
from tests.config.conftest import SERVE, Folder

from outlast.config.settings import FunctionSettings
from outlast.core.limits import Limits
from outlast.core.policy import OneshotBackground, Policy

FILES = {
    "supabase/config.toml": """
[edge_runtime]
policy = "per_request"
[functions.hello.env]
PLACE = "file"
OTHER = "file"
""",
    "supabase/outlast.toml": "limits.memory_mb = 100\n[functions.hello.limits]\nwall_clock_ms = 5\ncpu_soft_ms = 500\n",
    "supabase/functions/other/index.ts": SERVE,
}


@pytest.fixture
def given(project: Folder) -> Folder:
    project.write(FILES)
    return project


def loaded(project: Folder, given: dict[str, object]) -> tuple[FunctionSettings, FunctionSettings]:
    functions = project.load(given=given).functions
    return functions["hello"], functions["other"]


def test_nothing_given(given: Folder) -> None:
    assert given.load(given={}) == given.load()


def test_they_win_over_the_files(given: Folder) -> None:
    hello, other = loaded(
        given,
        {
            "limits": {"wall_clock_ms": 7},
            "oneshot_background": "wait",
            "env": {"PLACE": "all"},
            "functions": {"hello": {"limits": {"memory_mb": 200}, "env": {"OTHER": "one"}}},
        },
    )
    assert hello.limits == Limits(wall_clock_ms=7, memory_mb=200, cpu_soft_ms=500)
    assert other.limits == Limits(wall_clock_ms=7, memory_mb=100)
    assert hello.oneshot_background is other.oneshot_background is OneshotBackground.WAIT
    assert (hello.env["PLACE"], hello.env["OTHER"]) == ("all", "one")
    assert other.env["PLACE"] == "all"
    assert "OTHER" not in other.env


def test_the_policy_wins_over_the_command_line(given: Folder) -> None:
    assert given.load().policy is Policy.PER_REQUEST
    assert given.load(policy=Policy.PER_WORKER, given={"policy": "oneshot"}).policy is Policy.ONESHOT


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"limit": {}}, "settings: limit: there is no such key; did you mean limits?"),
        ({"ledger": {}}, "settings: ledger: there is no such key"),
        ({"functions": {"hello": {"policy": "oneshot"}}}, "settings: functions.hello.policy: there is no such key"),
        ({"functions": {"hell": {}}}, "settings: functions.hell: there is no such function; there are: hello, other"),
        ({"policy": "never"}, "settings: policy: 'never' is not one of"),
        ({"scale": {"standby": -1}}, "settings: scale.standby: -1 is not a whole number from 0"),
        ({"env": {"A=B": ""}}, 'settings: env."A=B": cannot be an environment variable'),
        ({"env": {"SUPABASE_X": ""}}, "settings: env.SUPABASE_X: is skipped: of the names that begin SUPABASE_ only"),
        (
            {"functions": {"hello": {"limits": {"cpu_hard_ms": 300}}}},
            "settings: functions.hello.limits.cpu_hard_ms: 300 is less than cpu_soft_ms, 500 (supabase/outlast.toml:4",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_them_is_said_of_them(given: Folder, wrong: dict[str, object], problem: str) -> None:
    assert given.error(given=wrong).startswith(problem)


def test_what_is_wrong_with_a_file_is_said_of_the_file(given: Folder) -> None:
    given.write({"supabase/outlast.toml": "limits.memory_mb = 1"})
    assert given.error(given={"limits": {"memory_mb": 100}}).startswith("supabase/outlast.toml:1: limits.memory_mb: 1 ")
