"""Under which name what happens is counted."""

from outlast.telemetry.counts import Counts


def test_what_a_function_still_does_after_its_removal_has_its_name() -> None:
    counts = Counts()
    counts.emitted("boot", {"function": "removed", "ms": 1})
    counts.request_ended("removed", 200, 1.0)
    counts.tasks_fulfilled("removed", [1.0])
    counts.emitted("shutdown", {"function": "removed", "reason": "reload"})
    found = counts.functions.pop("removed")
    assert (found.statuses[2], found.fulfilled, found.ends["reload"]) == (1, 1, 1)
    assert not counts.functions
