"""outlast.toml: what it sets for all functions and for one, and how it says what is wrong."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.config import toml_file
from outlast.config.dotenv_file import Environment
from outlast.config.errors import ConfigError
from outlast.config.overrides import Given, OwnFile
from outlast.config.settings import LedgerSettings
from outlast.config.toml_file import WholeNumber
from outlast.core.balance import Scale
from outlast.core.limits import Limits
from outlast.core.policy import OneshotBackground
from outlast.core.records import Retention

SERVE = "Deno.serve(() => new Response('ok'))\n"
NOT_MS = "is not a whole number from 1 to 2592000000 (30 days), or 0 for no limit"
NOT_MB = (
    "is not a whole number from 64 to 1048576 (1 TiB), or 0 for no limit; "
    "a worker takes up to 50 MiB before it does anything"
)
FIRST_WAITS = "the first request waits, too, until there is a worker"
REMEDY = "a worker gets no new requests from the soft limit on, and is ended at the hard one"
LIMITS = [field.name for field in dataclasses.fields(Limits)]


@pytest.fixture
def pair(project: Any) -> Any:
    """A project of the functions ``hello`` and ``other``."""
    project.write({"supabase/functions/other/index.ts": SERVE})
    return project


def limits(project: Any, text: str) -> tuple[Limits, Limits]:
    """Of ``hello`` and of ``other``."""
    project.write({"supabase/outlast.toml": text})
    functions = project.load().functions
    return functions["hello"].limits, functions["other"].limits


def scales(project: Any, text: str) -> tuple[Scale, Scale]:
    project.write({"supabase/outlast.toml": text})
    functions = project.load().functions
    return functions["hello"].scale, functions["other"].scale


def test_for_all_and_for_one(pair: Any) -> None:
    pair.write(
        {
            "supabase/outlast.toml": (
                "oneshot_background = 'wait'\n[limits]\nrequest_idle_ms = 0\nunload_grace_ms = 5\n"
                "[functions.hello]\noneshot_background = 'cut'\n"
                "[functions.hello.limits]\nunload_grace_ms = 0\nboot_timeout_ms = 7\n"
            ),
        }
    )
    functions = pair.load().functions
    assert functions["hello"].limits == Limits(request_idle_ms=0, unload_grace_ms=0, boot_timeout_ms=7)
    assert functions["hello"].oneshot_background is OneshotBackground.CUT
    assert functions["other"].limits == Limits(request_idle_ms=0, unload_grace_ms=5)
    assert functions["other"].oneshot_background is OneshotBackground.WAIT


@pytest.mark.parametrize("key", LIMITS)
def test_every_limit_for_all_and_for_one(pair: Any, key: str) -> None:
    hello, other = limits(pair, f"[limits]\n{key} = 1_500\n[functions.hello.limits]\n{key} = 1_300\n")
    assert (getattr(hello, key), getattr(other, key)) == (1_300, 1_500)


@pytest.mark.parametrize("key", LIMITS)
def test_every_limit_can_be_switched_off(pair: Any, key: str) -> None:
    hello, other = limits(pair, f"[functions.hello.limits]\n{key} = 0\n")
    assert hello == dataclasses.replace(Limits(), **{key: 0})
    assert other == Limits()


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Scale)])
def test_every_key_of_scale_for_all_and_for_one(pair: Any, key: str) -> None:
    hello, other = scales(pair, f"[scale]\n{key} = 5\n[functions.hello.scale]\n{key} = 1\n")
    assert hello == dataclasses.replace(Scale(), **{key: 1})
    assert other == dataclasses.replace(Scale(), **{key: 5})


def test_a_function_inherits_what_it_does_not_set(pair: Any) -> None:
    text = "[scale]\nmax_workers = 4\nconcurrency = 10\n[functions.hello.scale]\nstandby = 0\nmax_backlog = 1\n"
    hello, other = scales(pair, text)
    assert hello == Scale(max_workers=4, concurrency=10, standby=0, max_backlog=1)
    assert other == Scale(max_workers=4, concurrency=10)


class TestSoftAndHard:
    """A worker is to be replaced before it is ended."""

    @pytest.mark.parametrize(
        ("text", "soft", "hard"),
        [
            ("", 1_000, 2_000),
            ("cpu_hard_ms = 20_000", 1_000, 20_000),
            ("cpu_hard_ms = 0", 1_000, 0),
            # Nobody has set the soft limit: it follows.
            ("cpu_hard_ms = 1_500", 750, 1_500),
            ("cpu_hard_ms = 500", 250, 500),
            ("cpu_hard_ms = 1", 1, 1),
            ("cpu_soft_ms = 0\ncpu_hard_ms = 500", 0, 500),
            ("cpu_soft_ms = 500\ncpu_hard_ms = 500", 500, 500),
            ("cpu_soft_ms = 50_000\ncpu_hard_ms = 0", 50_000, 0),
        ],
    )
    def test_of_one_section(self, pair: Any, text: str, soft: int, hard: int) -> None:
        hello, other = limits(pair, f"[functions.hello.limits]\n{text}\n")
        assert (hello.cpu_soft_ms, hello.cpu_hard_ms) == (soft, hard)
        assert other == Limits()
        assert limits(pair, f"[limits]\n{text}\n") == (hello, hello)

    def test_a_soft_limit_that_followed_for_all_does_not_bind_one(self, pair: Any) -> None:
        hello, other = limits(pair, "limits.cpu_hard_ms = 500\nfunctions.hello.limits.cpu_hard_ms = 20_000\n")
        assert (hello.cpu_soft_ms, hello.cpu_hard_ms) == (1_000, 20_000)
        assert (other.cpu_soft_ms, other.cpu_hard_ms) == (250, 500)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (
                "[limits]\ncpu_hard_ms = 500\ncpu_soft_ms = 501\n",
                f"3: limits.cpu_soft_ms: 501 is more than cpu_hard_ms, 500; {REMEDY}",
            ),
            (
                "[limits]\ncpu_soft_ms = 3_000\n",
                "2: limits.cpu_soft_ms: 3000 is more than cpu_hard_ms, 2000 (by default); "
                f"{REMEDY}: set cpu_hard_ms here, too",
            ),
            (
                "[limits]\ncpu_hard_ms = 500\n[functions.hello.limits]\ncpu_soft_ms = 600\n",
                "4: functions.hello.limits.cpu_soft_ms: 600 is more than cpu_hard_ms, 500 "
                f"(supabase/outlast.toml:2: limits.cpu_hard_ms); {REMEDY}: set cpu_hard_ms here, too",
            ),
            (
                "[limits]\ncpu_soft_ms = 600\n[functions.hello.limits]\ncpu_hard_ms = 500\n",
                "4: functions.hello.limits.cpu_hard_ms: 500 is less than cpu_soft_ms, 600 "
                f"(supabase/outlast.toml:2: limits.cpu_soft_ms); {REMEDY}: set cpu_soft_ms here, too",
            ),
            (
                "[functions.hello.limits]\ncpu_soft_ms = 60\ncpu_hard_ms = 50\n[limits]\ncpu_soft_ms = 1\n",
                f"2: functions.hello.limits.cpu_soft_ms: 60 is more than cpu_hard_ms, 50; {REMEDY}",
            ),
            # One that is for all is told as such, and also where no function is left that it would be wrong for.
            (
                "limits.cpu_soft_ms = 3_000\nfunctions.hello.limits.cpu_hard_ms = 2_500\n",
                "1: limits.cpu_soft_ms: 3000 is more than cpu_hard_ms, 2000 (by default); "
                f"{REMEDY}: set cpu_hard_ms here, too",
            ),
            (
                "limits.cpu_soft_ms = 3_000\n"
                "functions.hello.limits.cpu_hard_ms = 5_000\nfunctions.other.limits.cpu_hard_ms = 5_000\n",
                "1: limits.cpu_soft_ms: 3000 is more than cpu_hard_ms, 2000 (by default); "
                f"{REMEDY}: set cpu_hard_ms here, too",
            ),
        ],
    )
    def test_a_contradiction(self, pair: Any, text: str, error: str) -> None:
        pair.write({"supabase/outlast.toml": text})
        assert pair.error() == f"supabase/outlast.toml:{error}"

    @given(
        everywhere=st.dictionaries(st.sampled_from(["cpu_soft_ms", "cpu_hard_ms"]), st.integers(0, 3_000)),
        here=st.dictionaries(st.sampled_from(["cpu_soft_ms", "cpu_hard_ms"]), st.integers(0, 3_000)),
    )
    def test_what_is_accepted_is_what_was_set_and_consistent(
        self, tmp_path_factory: pytest.TempPathFactory, everywhere: dict[str, int], here: dict[str, int]
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "outlast.toml"
        tables = {"limits": everywhere, "functions.hello.limits": here}
        path.write_text(
            "".join(
                f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
                for table, values in tables.items()
            )
        )
        environment = Environment({}, (), str)
        root = toml_file.read(path, "outlast.toml", environment)
        nothing = Given.read(toml_file.given({}, "settings", environment))
        together = {**everywhere, **here}
        try:
            found = OwnFile.read(root, nothing).for_function("hello").limits
        except ConfigError:
            both = ({"cpu_hard_ms": 2_000, **given} for given in (everywhere, together))
            assert any(0 < given["cpu_hard_ms"] < given.get("cpu_soft_ms", 0) for given in both)
            return
        assert not 0 < found.cpu_hard_ms < found.cpu_soft_ms
        assert {key: getattr(found, key) for key in together} == together


class TestWrongValues:
    @pytest.mark.parametrize("key", LIMITS)
    @pytest.mark.parametrize("value", ["-1", "1.5", "true", "'1s'", "nan", "[]", "2592000001"])
    @pytest.mark.parametrize("section", ["limits", "functions.hello.limits"])
    def test_of_limits(self, project: Any, section: str, key: str, value: str) -> None:
        project.write({"supabase/outlast.toml": f"[{section}]\n\n{key} = {value}\n"})
        shown = {"[]": "an array"}.get(value, value)
        allowed = NOT_MB if key == "memory_mb" else NOT_MS
        assert project.error() == f"supabase/outlast.toml:3: {section}.{key}: {shown} {allowed}"

    @pytest.mark.parametrize("value", [1, 63])
    def test_less_memory_than_a_worker_needs(self, project: Any, value: int) -> None:
        project.write({"supabase/outlast.toml": f"limits.memory_mb = {value}\n"})
        assert project.error() == f"supabase/outlast.toml:1: limits.memory_mb: {value} {NOT_MB}"
        project.write({"supabase/outlast.toml": "limits.memory_mb = 64\n"})
        assert project.load().functions["hello"].limits.memory_mb == 64

    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("max_workers", 0, "from 1 to 1000"),
            ("max_workers", 1001, "from 1 to 1000"),
            ("concurrency", 0, "from 1 to 1000000"),
            ("standby", -1, "from 0 to 1000"),
            # All requests would be refused.
            ("max_backlog", 0, f"from 1 to 1000000; {FIRST_WAITS}"),
            ("max_backlog", 1.5, f"from 1 to 1000000; {FIRST_WAITS}"),
        ],
    )
    def test_of_scale(self, project: Any, key: str, value: float, allowed: str) -> None:
        project.write({"supabase/outlast.toml": f"[scale]\n{key} = {value}\n"})
        problem = f"{value} is not a whole number {allowed}"
        assert project.error() == f"supabase/outlast.toml:2: scale.{key}: {problem}"
        project.write({"supabase/outlast.toml": f"[functions.hello]\nscale = {{ {key} = {value} }}\n"})
        assert project.error() == f"supabase/outlast.toml:2: functions.hello.scale.{key}: {problem}"

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("\n[limit]\n", "2: limit: there is no such key; did you mean limits?"),
            (
                "colour = 1",
                "1: colour: there is no such key; "
                "known here: oneshot_background, limits, scale, log, ledger, functions",
            ),
            (
                "[limits]\nrequest_idle = 1",
                "2: limits.request_idle: there is no such key; did you mean request_idle_ms?",
            ),
            ("[limits]\nmemory = 1", "2: limits.memory: there is no such key; did you mean memory_mb?"),
            ("limits = 1", "1: limits: 1 is not a table"),
            ("oneshot_background = 'kill'", "1: oneshot_background: 'kill' is not one of cut, wait"),
            ("[ledger]\nretain = 2", "2: ledger.retain: there is no such key; did you mean retain_days?"),
            (
                "[ledger]\nrequests_per_s = -1",
                "2: ledger.requests_per_s: -1 is not a whole number from 0 to 1000000",
            ),
            (
                "[functions.hello.ledger]\nretain_days = 2",
                "1: functions.hello.ledger: there is no such key; known here: oneshot_background, limits, scale, log",
            ),
            ("[scale]\nworkers = 2", "2: scale.workers: there is no such key; did you mean max_workers?"),
            (
                "[functions.hello.scale]\nx = 2",
                "2: functions.hello.scale.x: there is no such key; "
                "known here: max_workers, concurrency, standby, max_backlog",
            ),
            (
                "[functions.hello]\nverify_jwt = false",
                "2: functions.hello.verify_jwt: there is no such key; "
                "known here: oneshot_background, limits, scale, log",
            ),
            (
                "[functions.hello.limits]\nunload_grace = 1",
                "2: functions.hello.limits.unload_grace: there is no such key; did you mean unload_grace_ms?",
            ),
            (
                "[functions.hello]\n[functions.helo]\n",
                "2: functions.helo: there is no such function; there are: hello, off",
            ),
            (
                "[functions.off.limits]\nboot_timeout_ms = 'x'",
                f"2: functions.off.limits.boot_timeout_ms: 'x' {NOT_MS}",
            ),
            # A wrong value for all is not told as one of the function that comes first.
            ("[functions.hello.limits]\n[limits]\nmemory_mb = 1", f"3: limits.memory_mb: 1 {NOT_MB}"),
            ("limits = ", "1: is not valid TOML: Invalid value"),
        ],
    )
    def test_of_the_whole_file(self, project: Any, text: str, error: str) -> None:
        project.write({"supabase/config.toml": "[functions.off]\nenabled = false\n"})
        project.write({"supabase/outlast.toml": text})
        assert project.error() == f"supabase/outlast.toml:{error}"


def test_a_function_that_is_switched_off_may_be_named(project: Any) -> None:
    project.write(
        {
            "supabase/config.toml": "[functions.off]\nenabled = false\n",
            "supabase/outlast.toml": "[functions]\noff = {}\n",
        }
    )
    assert list(project.load().functions) == ["hello"]


def test_numbers_from_the_environment(project: Any) -> None:
    project.write({"supabase/outlast.toml": "limits.memory_mb = 'env(MB)'\nscale.standby = 'env(STANDBY)'\n"})
    function = project.load(environ={"MB": "512", "STANDBY": "0"}).functions["hello"]
    assert (function.limits.memory_mb, function.scale.standby) == (512, 0)
    for text in ("16", "-1", " 1", "1e3", "٣", "9" * 5_000):
        shown = text if text == "16" else repr(text)
        error = project.error(environ={"MB": text, "STANDBY": "0"})
        assert error == f"supabase/outlast.toml:1: limits.memory_mb: {shown} {NOT_MB}"


@pytest.mark.parametrize(
    ("allowed", "words", "inside", "outside"),
    [
        (WholeNumber(0, 9), "from 0 to 9", [0, 9], [-1, 10]),
        (WholeNumber(2, 9), "from 2 to 9", [2, 9], [0, 1, 10]),
        (WholeNumber(2, 9, zero="none"), "from 2 to 9, or 0 for none", [0, 2], [1, -1]),
        (WholeNumber(2, 9, note="nine", zero="none", why="so"), "from 2 to 9 (nine), or 0 for none; so", [9], [10]),
    ],
)
def test_whole_numbers(allowed: WholeNumber, words: str, inside: list[int], outside: list[int]) -> None:
    assert str(allowed) == words
    assert all(allowed.has(value) for value in inside)
    assert not any(allowed.has(value) for value in outside)


def test_the_defaults_can_be_written_down(pair: Any) -> None:
    """Whoever copies the defaults into a file changes nothing."""
    lines = [f"{field.name} = {field.default}" for field in dataclasses.fields(Limits)]
    assert limits(pair, "[limits]\n" + "\n".join(lines)) == (Limits(), Limits())
    lines = [f"{field.name} = {field.default}" for field in dataclasses.fields(Scale) if field.default is not None]
    assert scales(pair, "[scale]\n" + "\n".join(lines)) == (Scale(), Scale())


def test_the_ledger_is_for_all_functions_together(project: Any) -> None:
    assert project.load().ledger == LedgerSettings()
    project.write({"supabase/outlast.toml": "[ledger]\nretain_days = 0\nrequests_per_s = 7\n"})
    assert project.load().ledger == LedgerSettings(Retention(days=0), 7)
