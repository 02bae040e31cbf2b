"""Under which name what happens is counted."""

from outlast.telemetry.counts import Counts


def test_requests_for_what_does_not_exist_have_no_name() -> None:
    counts = Counts(lambda: {"there"})
    for function in ("there", "made-up-1", "made-up-2"):
        counts.request_ended(function, 404, 1.0)
    assert {name: sum(found.statuses) for name, found in counts.functions.items()} == {"there": 1, "": 2}


def test_what_a_function_still_does_after_its_removal_has_its_name() -> None:
    counts = Counts(lambda: ())
    counts.emitted("boot", {"function": "removed", "ms": 1})
    counts.request_ended("removed", 200, 1.0)
    counts.tasks_fulfilled("removed", [1.0])
    counts.emitted("shutdown", {"function": "removed", "reason": "reload"})
    found = counts.functions.pop("removed")
    assert (found.statuses[2], found.fulfilled, found.ends["reload"]) == (1, 1, 1)
    assert not counts.functions
