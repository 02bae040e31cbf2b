"""Why a worker ended, as far as can be known."""

import signal

import pytest

from outlast.core.limits import Limits, Step, Verdict
from outlast.core.outcome import EndReason, UnloadReason
from outlast.engines.processes import Exit
from outlast.supervisor.ending import YOUNG_MS, End, Ending

LIMITS = Limits(memory_mb=128, cpu_hard_ms=500)
KILLED = Exit(-signal.SIGKILL, 40, 30)
ENDED = Exit(0, 40, 30)


def end(
    ending: Ending,
    used: Exit = KILLED,
    *,
    ready_ms: int | None = 60_000,
    reached: EndReason | None = None,
    errors: str = "",
) -> End:
    return ending.conclude(used, ready_ms=ready_ms, limits=LIMITS, reached=reached, errors=errors)


class TestReason:
    @pytest.mark.parametrize("reason", EndReason)
    def test_what_it_was_killed_for(self, reason: EndReason) -> None:
        assert end(Ending(killed_for=reason)).reason is reason

    @pytest.mark.parametrize(
        ("retired_for", "cause"),
        [
            (EndReason.WALL_CLOCK, EndReason.EARLY_DROP),
            (EndReason.CPU, EndReason.EARLY_DROP),
            (EndReason.MEMORY, EndReason.EARLY_DROP),
            (EndReason.EARLY_DROP, EndReason.EARLY_DROP),
            (EndReason.ONESHOT, EndReason.ONESHOT),
            (EndReason.RELOAD, EndReason.RELOAD),
            (EndReason.TERMINATION, EndReason.TERMINATION),
            (EndReason.UNCAUGHT, EndReason.UNCAUGHT),
        ],
    )
    def test_one_that_had_the_time_to_finish_ends_for_having_nothing_to_do(
        self, retired_for: EndReason, cause: EndReason
    ) -> None:
        assert end(Ending(retired_for=retired_for, asked_to_exit=True), ENDED).reason is cause

    def test_one_that_has_exited_before_a_request_met_nobody_has_exited(self) -> None:
        ending = Ending(killed_for=EndReason.CRASH)
        assert end(ending, Exit(3, 1, 1)).reason is EndReason.EXIT

    def test_what_its_listeners_started_last_is_cut_off_by_no_policy(self) -> None:
        found = end(Ending(retired_for=EndReason.ONESHOT, asked_to_exit=True), ENDED)
        assert found.words == EndReason.ONESHOT.words
        assert found.of_last_words.reason is EndReason.EARLY_DROP
        assert found.of_last_words.words.endswith("what a beforeunload listener starts then has 2000 ms")
        reloaded = end(Ending(retired_for=EndReason.RELOAD, asked_to_exit=True), ENDED)
        assert reloaded.of_last_words == reloaded

    def test_a_limit_that_comes_before_it_has_left_is_what_ended_it(self) -> None:
        limit = Verdict(Step.KILL, UnloadReason.CPU, 501, 500)
        ending = Ending(EndReason.CPU, EndReason.CPU, limit, asked_to_exit=True)
        assert (end(ending).reason, end(ending).limit) == (EndReason.CPU, limit)

    @pytest.mark.parametrize(
        ("used", "reason"),
        [
            (Exit(0, 1, 1), EndReason.EXIT),
            (Exit(3, 1, 1), EndReason.EXIT),
            (Exit(-signal.SIGSEGV, 1, 1), EndReason.CRASH),
            (KILLED, EndReason.CRASH),
        ],
    )
    def test_one_that_nobody_told_to_end(self, used: Exit, reason: EndReason) -> None:
        assert end(Ending(), used).reason is reason
        assert end(Ending(), used, ready_ms=None).reason is EndReason.BOOT_FAILURE

    @pytest.mark.parametrize("killed_for", [None, EndReason.CRASH, EndReason.PROTOCOL])
    def test_what_looks_like_a_crash_may_have_been_a_limit_of_the_kernel(self, killed_for: EndReason | None) -> None:
        found = end(Ending(killed_for=killed_for), reached=EndReason.MEMORY)
        assert found.reason is EndReason.MEMORY
        assert found.limit == Verdict(Step.KILL, UnloadReason.MEMORY, 30, 128)
        assert end(Ending(killed_for=killed_for), reached=EndReason.CPU).limit == Verdict(
            Step.KILL, UnloadReason.CPU, 40, 500
        )

    def test_what_it_was_killed_for_counts_for_more_than_what_it_said(self) -> None:
        limit = Verdict(Step.KILL, UnloadReason.WALL_CLOCK, 1001, 1000)
        found = end(Ending(killed_for=EndReason.WALL_CLOCK, limit=limit), reached=EndReason.MEMORY)
        assert (found.reason, found.limit) == (EndReason.WALL_CLOCK, limit)


class TestBootError:
    def test_one_that_was_ready_has_none(self) -> None:
        assert end(Ending(), errors="Error: late").boot_error is None

    @pytest.mark.parametrize("reason", [EndReason.RELOAD, EndReason.TERMINATION, EndReason.EARLY_DROP])
    def test_nor_has_one_that_was_not_wanted_any_more(self, reason: EndReason) -> None:
        assert end(Ending(killed_for=reason), ready_ms=None).boot_error is None

    def test_is_what_it_said_or_else_what_it_printed_or_else_how_it_ended(self) -> None:
        said = Ending(killed_for=EndReason.BOOT_FAILURE, boot_error="SyntaxError: x")
        assert end(said, ready_ms=None, errors="noise").boot_error == "SyntaxError: x"
        assert end(Ending(), ready_ms=None, errors="printed\n").boot_error == "printed"
        unexplained = end(Ending(), Exit(7, 1, 1), ready_ms=None).boot_error
        assert unexplained == "the worker ended before it served anything (exit code 7)"

    def test_is_the_limit_that_it_reached(self) -> None:
        limit = Verdict(Step.KILL, UnloadReason.MEMORY, 130, 128)
        found = end(Ending(killed_for=EndReason.MEMORY, limit=limit), ready_ms=None, errors="noise")
        words = "the worker reached its memory limit: 130 MiB used, 128 MiB allowed"
        assert found.boot_error == f"before it served anything, {words}"

    def test_a_breach_of_the_protocol_is_one(self) -> None:
        assert end(Ending(killed_for=EndReason.PROTOCOL), ready_ms=None, errors="why").boot_error == "why"


class TestYoung:
    @pytest.mark.parametrize(
        ("reason", "is_failure"),
        [
            *((reason, True) for reason in (EndReason.CRASH, EndReason.EXIT, EndReason.PROTOCOL, EndReason.MEMORY)),
            *((reason, False) for reason in (EndReason.CPU, EndReason.RELOAD, EndReason.UNCAUGHT)),
        ],
    )
    def test_one_that_fails_soon_after_it_was_ready_died_young(self, reason: EndReason, is_failure: bool) -> None:
        ending = Ending(killed_for=reason)
        assert end(ending, ready_ms=YOUNG_MS - 1).died_young is is_failure
        assert not end(ending, ready_ms=YOUNG_MS).died_young
        assert not end(ending, ready_ms=None).died_young
