"""What a worker's usage means, and how long it need not be looked at."""

import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from outlast.core.limits import MOST_CPUS_AT_ONCE, WARN_AT, Limits, Step, Usage, Verdict, judge, next_look_ms
from outlast.core.outcome import UnloadReason

CPU, MEMORY, WALL_CLOCK = UnloadReason.CPU, UnloadReason.MEMORY, UnloadReason.WALL_CLOCK
EARLY_DROP = UnloadReason.EARLY_DROP
DEFAULTS = Limits()
OFF = Limits(**dict.fromkeys(asdict(DEFAULTS), 0))

off_or = st.just(0) | st.integers(1, 5_000)
amount = st.floats(0, 6_000) | st.integers(0, 6_000).map(float)
usages = st.builds(Usage, amount, amount, amount, amount, amount)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """As the settings allow them: the soft CPU limit is not above the hard one."""
    found = Limits(*(draw(off_or) for _ in asdict(DEFAULTS)))
    assume(not 0 < found.cpu_hard_ms < found.cpu_soft_ms)
    return found


@pytest.mark.parametrize(
    ("usage", "verdicts"),
    [
        (Usage(), []),
        (Usage(wall_ms=199_999.9), []),
        (Usage(wall_ms=200_000), [Verdict(Step.RETIRE, WALL_CLOCK, 200_000, 400_000)]),
        (Usage(wall_ms=359_999), [Verdict(Step.RETIRE, WALL_CLOCK, 359_999, 400_000)]),
        (Usage(wall_ms=360_000), [Verdict(Step.WARN, WALL_CLOCK, 360_000, 400_000)]),
        (Usage(wall_ms=400_000), [Verdict(Step.KILL, WALL_CLOCK, 400_000, 400_000)]),
        (Usage(cpu_ms=999.9), []),
        # What retires it is the soft limit, and that is what can be raised.
        (Usage(cpu_ms=1_000), [Verdict(Step.RETIRE, CPU, 1_000, 1_000)]),
        (Usage(cpu_ms=1_800), [Verdict(Step.WARN, CPU, 1_800, 2_000)]),
        (Usage(cpu_ms=2_003.4), [Verdict(Step.KILL, CPU, 2_003, 2_000)]),
        (Usage(memory_mb=127), []),
        (Usage(memory_mb=128), [Verdict(Step.ALERT, MEMORY, 128, 256)]),
        (Usage(memory_mb=230.4), [Verdict(Step.WARN, MEMORY, 230, 256)]),
        (Usage(memory_mb=256), [Verdict(Step.KILL, MEMORY, 256, 256)]),
        # It was as large from the beginning: a new one would be, too.
        (Usage(memory_mb=200, memory_at_ready_mb=128), []),
        (Usage(memory_mb=231, memory_at_ready_mb=128), [Verdict(Step.WARN, MEMORY, 231, 256)]),
        (Usage(memory_mb=200, memory_at_ready_mb=127), [Verdict(Step.ALERT, MEMORY, 200, 256)]),
        (Usage(idle_ms=1e9), []),
    ],
)
def test_the_defaults(usage: Usage, verdicts: list[Verdict]) -> None:
    assert judge(usage, DEFAULTS) == verdicts


@pytest.mark.parametrize(
    ("usage", "changed", "verdicts"),
    [
        (Usage(idle_ms=4_999), {"idle_timeout_ms": 5_000}, []),
        (Usage(idle_ms=5_001), {"idle_timeout_ms": 5_000}, [Verdict(Step.ALERT, EARLY_DROP, 5_001, 5_000)]),
        (Usage(cpu_ms=9e9), {"cpu_soft_ms": 0, "cpu_hard_ms": 0}, []),
        (Usage(cpu_ms=1_500), {"cpu_soft_ms": 0}, []),
        (Usage(cpu_ms=2_000), {"cpu_soft_ms": 0}, [Verdict(Step.KILL, CPU, 2_000, 2_000)]),
        (Usage(cpu_ms=9e9), {"cpu_hard_ms": 0}, [Verdict(Step.RETIRE, CPU, 9_000_000_000, 1_000)]),
        # The soft limit lies where the warning would: the warning includes what it asks for.
        (Usage(cpu_ms=1_900), {"cpu_soft_ms": 1_900}, [Verdict(Step.WARN, CPU, 1_900, 2_000)]),
        (Usage(wall_ms=9e9), {"wall_clock_ms": 0}, []),
        (Usage(memory_mb=9e9), {"memory_mb": 0}, []),
    ],
)
def test_other_limits(usage: Usage, changed: dict[str, int], verdicts: list[Verdict]) -> None:
    assert judge(usage, replace(DEFAULTS, **changed)) == verdicts


def test_one_verdict_for_each_limit() -> None:
    found = judge(Usage(wall_ms=200_000, cpu_ms=1_999, memory_mb=300), DEFAULTS)
    assert {verdict.reason: verdict.step for verdict in found} == {
        WALL_CLOCK: Step.RETIRE,
        CPU: Step.WARN,
        MEMORY: Step.KILL,
    }


def steps(usage: Usage, allowed: Limits) -> dict[UnloadReason, Step]:
    found = judge(usage, allowed)
    by_reason = {verdict.reason: verdict.step for verdict in found}
    assert len(by_reason) == len(found), "one verdict a reason"
    return {reason: by_reason.get(reason, Step.FINE) for reason in UnloadReason}


@given(usage=usages, allowed=limits(), more=st.tuples(amount, amount, amount, amount))
def test_more_usage_is_never_judged_more_mildly(
    usage: Usage, allowed: Limits, more: tuple[float, float, float, float]
) -> None:
    wall, cpu, memory, idle = more
    # What it had when it began to serve does not change.
    later = Usage(
        usage.wall_ms + wall,
        usage.cpu_ms + cpu,
        usage.memory_mb + memory,
        usage.memory_at_ready_mb,
        usage.idle_ms + idle,
    )
    before, after = steps(usage, allowed), steps(later, allowed)
    assert all(after[reason] >= before[reason] for reason in UnloadReason)


@given(usage=usages, allowed=limits(), key=st.sampled_from(sorted(asdict(DEFAULTS))), more=st.integers(0, 5_000))
def test_a_higher_limit_is_never_judged_more_strictly(usage: Usage, allowed: Limits, key: str, more: int) -> None:
    # Memory aside, where a worker that was large at the start is not alerted, but a larger limit makes it small.
    assume(key != "memory_mb")
    limit = getattr(allowed, key)
    higher = replace(allowed, **{key: limit + more if limit else 0})
    assume(not 0 < higher.cpu_hard_ms < higher.cpu_soft_ms)
    before, after = steps(usage, allowed), steps(usage, higher)
    assert all(after[reason] <= before[reason] for reason in UnloadReason)


@given(usage=usages, allowed=limits())
def test_verdicts_are_about_limits_that_there_are_and_never_say_that_all_is_fine(usage: Usage, allowed: Limits) -> None:
    for verdict in judge(usage, allowed):
        assert verdict.step is not Step.FINE
        assert verdict.limit > 0
        assert verdict.used >= 0
        if verdict.step is Step.KILL:
            assert verdict.used >= verdict.limit
    assert judge(usage, OFF) == []


@given(usage=usages, allowed=limits())
def test_only_the_hard_limits_kill(usage: Usage, allowed: Limits) -> None:
    killed = {reason for reason, step in steps(usage, allowed).items() if step is Step.KILL}
    assert killed == {
        reason
        for reason, used, limit in (
            (WALL_CLOCK, usage.wall_ms, allowed.wall_clock_ms),
            (CPU, usage.cpu_ms, allowed.cpu_hard_ms),
            (MEMORY, usage.memory_mb, allowed.memory_mb),
        )
        if 0 < limit <= used
    }


def later(usage: Usage, ms: float, cpus: float) -> Usage:
    return replace(usage, wall_ms=usage.wall_ms + ms, cpu_ms=usage.cpu_ms + ms * cpus, idle_ms=usage.idle_ms + ms)


@given(usage=usages, allowed=limits(), share=st.floats(0, 0.999), cpus=st.floats(0, MOST_CPUS_AT_ONCE))
def test_nothing_happens_before_the_next_look(usage: Usage, allowed: Limits, share: float, cpus: float) -> None:
    ms = next_look_ms(usage, allowed)
    assert ms > 0
    ms = min(ms, 1e9) * share
    # A sum this close to a threshold can be rounded to it.
    assume(all(abs(at - value) > 1e-6 for at, value in thresholds(later(usage, ms, cpus), allowed)))
    assert steps(later(usage, ms, cpus), allowed) == steps(usage, allowed)


LOOK_MS = 20.0


@given(usage=usages, allowed=limits(), cpus=st.floats(0.25, MOST_CPUS_AT_ONCE))
def test_whoever_looks_when_told_but_not_too_often_is_never_late(usage: Usage, allowed: Limits, cpus: float) -> None:
    """A look every 20 ms at most finds each threshold within 20 ms of its being reached."""
    looks = [0.0]
    while (ms := next_look_ms(later(usage, looks[-1], cpus), allowed)) < 1e6:
        looks.append(looks[-1] + max(ms, LOOK_MS))
        assert len(looks) < 500, "it must come to an end: what is counted goes on"
    before, after = thresholds(usage, allowed), thresholds(later(usage, 1, cpus), allowed)
    for (at, value), (_, a_millisecond_later) in zip(before, after, strict=True):
        if at > value:
            reached = (at - value) / (a_millisecond_later - value)
            assert any(reached - 1e-3 <= look <= reached + LOOK_MS + 1e-3 for look in looks)


def test_memory_may_grow_twice_as_fast_as_it_did() -> None:
    allowed = replace(OFF, memory_mb=200)
    for memory_mb, expected_ms in ((100, 400), (180, 100), (200, math.inf)):
        assert next_look_ms(Usage(memory_mb=memory_mb), allowed, growth=0.1) == pytest.approx(expected_ms)


def test_limits_that_are_off_need_no_look() -> None:
    assert next_look_ms(Usage(), OFF) == math.inf
    assert next_look_ms(Usage(1e9, 1e9, 1e9, 1e9, 1e9), DEFAULTS) == math.inf


@pytest.mark.parametrize(
    ("usage", "changed", "ms"),
    [
        (Usage(), {}, 500),
        (Usage(cpu_ms=900), {}, 50),
        (Usage(cpu_ms=1_000), {}, 400),
        (Usage(cpu_ms=1_900), {}, 50),
        (Usage(wall_ms=199_990), {}, 10),
        (Usage(), {"idle_timeout_ms": 30}, 30),
        (Usage(idle_ms=31), {"idle_timeout_ms": 30}, 500),
        (Usage(), {"cpu_soft_ms": 0}, 2_000 * WARN_AT / 2),
        (Usage(), {"cpu_soft_ms": 0, "cpu_hard_ms": 0}, 200_000),
    ],
)
def test_the_next_look(usage: Usage, changed: dict[str, int], ms: float) -> None:
    assert next_look_ms(usage, replace(DEFAULTS, **changed)) == pytest.approx(ms)


def thresholds(usage: Usage, allowed: Limits) -> Iterator[tuple[float, float]]:
    """Each with what it is compared to."""
    yield from ((allowed.wall_clock_ms * share, usage.wall_ms) for share in (0.5, 0.9, 1))
    yield from ((at, usage.cpu_ms) for at in (allowed.cpu_soft_ms, allowed.cpu_hard_ms * 0.9, allowed.cpu_hard_ms))
    yield allowed.idle_timeout_ms, usage.idle_ms
