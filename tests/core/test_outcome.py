"""The closed lists are complete: whoever adds an end has to say what it means."""

import dataclasses
from http import HTTPStatus

import pytest

from outlast.core.limits import Limits
from outlast.core.outcome import EndReason, RequestEnd, UnloadReason

GRACED = {EndReason.EARLY_DROP, EndReason.RELOAD, EndReason.TERMINATION, EndReason.UNCAUGHT}
"""At these ends there is a grace."""


@pytest.mark.parametrize("reason", EndReason)
def test_every_end_of_a_worker_has_words_and_a_reason_for_its_listeners(reason: EndReason) -> None:
    assert reason.words
    assert not reason.words.endswith(".")
    assert reason.unload_reason in UnloadReason


@pytest.mark.parametrize("reason", UnloadReason)
def test_a_reason_that_listeners_hear_of_can_be_the_end(reason: UnloadReason) -> None:
    assert EndReason(reason.value).words


@pytest.mark.parametrize("reason", [EndReason.WALL_CLOCK, EndReason.CPU, EndReason.MEMORY])
def test_whoever_is_done_before_a_limit_is_reached_is_dropped_early(reason: EndReason) -> None:
    assert reason.unload_reason is UnloadReason.EARLY_DROP
    assert reason.limit_key in {field.name for field in dataclasses.fields(Limits)}


def test_reload_and_shutdown_are_both_terminations() -> None:
    assert EndReason.RELOAD.unload_reason is EndReason.TERMINATION.unload_reason is UnloadReason.TERMINATION
    assert EndReason.ONESHOT.unload_reason is UnloadReason.EARLY_DROP


def test_what_cuts_a_task_off_names_the_remedy() -> None:
    assert 'policy = "per_worker"' in EndReason.ONESHOT.remedy("mail")
    assert "--graceful-exit-timeout" in EndReason.TERMINATION.remedy("mail")
    for reason in EndReason:
        key = reason.limit_key or "unload_grace_ms"
        named = f"[functions.mail.limits] {key} in outlast.toml"
        assert (named in reason.remedy("mail")) is (reason.limit_key is not None or reason in GRACED)


@pytest.mark.parametrize("end", RequestEnd)
def test_every_end_of_a_request_has_an_answer(end: RequestEnd) -> None:
    assert end.message
    assert end.words
    assert not end.words.endswith(".")
    assert end.code == end.name
    # 546 is Supabase's own.
    assert end.status == 546 or HTTPStatus(end.status) >= HTTPStatus.BAD_REQUEST


def test_no_two_ends_of_a_request_are_told_alike() -> None:
    assert len({end.code for end in RequestEnd}) == len(RequestEnd)


def test_limits_name_their_units() -> None:
    for field in dataclasses.fields(Limits):
        assert field.name.endswith(("_ms", "_mb")), field.name
        assert getattr(Limits(), field.name) >= 0
