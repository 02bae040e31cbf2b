"""How often workers are looked at, and what is made of what is seen."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.supervisor.stub_workers import PATIENCE_S

from outlast.core.limits import Limits, Step, Usage, Verdict
from outlast.supervisor import meter as meters
from outlast.supervisor.meter import LONGEST_AT_REST_MS, LONGEST_AT_WORK_MS, LOOK_MS, QUICK_MS, TASK_MB, Meter, Metering

NO_LIMITS = Limits(wall_clock_ms=0, cpu_soft_ms=0, cpu_hard_ms=0, memory_mb=0)


class Process:
    """Stands for `outlast.supervisor.gauge.Gauge`: what the kernel would tell."""

    def __init__(self) -> None:
        self.cpu = 50.0
        self.memory = 40.0
        self.children = (0.0, 0.0)
        self.alone = True
        self.running = False
        self.looks = 0
        self.closed = False

    def cpu_ms(self) -> float:
        return self.cpu

    def memory_mb(self) -> float:
        return self.memory

    def family(self) -> tuple[float, float]:
        return self.cpu + self.children[0], self.memory + self.children[1]

    def is_alone(self) -> bool:
        return self.alone

    def is_running(self) -> bool:
        self.looks += 1
        return self.running

    def close(self) -> None:
        self.closed = True


class Worker:
    """Implements `outlast.supervisor.meter.Metered` and `Reader`."""

    def __init__(self) -> None:
        self.requests = 0
        self.requests_begun = 0
        self.open_tasks = 0
        self.signs_of_life = 0
        self.is_working = False
        self.verdicts: list[Verdict] = []
        self.usage = Usage()
        self.is_held_up: list[bool] = []
        self.looked_at = asyncio.Event()

    def measured(self, usage: Usage, verdicts: list[Verdict]) -> None:
        self.usage, self.verdicts = usage, verdicts
        self.looked_at.set()

    async def is_measured(self) -> None:
        """Waits for the next look."""
        await asyncio.wait_for(self.looked_at.wait(), PATIENCE_S)
        self.looked_at.clear()

    def held_up(self, held_up: bool) -> None:
        self.is_held_up.append(held_up)


class Bench:
    """One worker under a meter whose clock the test moves."""

    def __init__(self, process: Process, limits: Limits, *, has_family: bool) -> None:
        self.process = process
        self.worker = Worker()
        self.now = 100.0
        self.meter = Meter()
        self.meter.now = lambda: self.now  # type: ignore[method-assign]
        self.metering = Metering(self.meter, self.worker, self.worker, 1, limits, has_family=has_family)

    def ready(self) -> None:
        self.metering.ready()

    def pass_ms(self, ms: float, *, cpu_ms: float = 0) -> None:
        """Looks once that has passed."""
        self.now += ms / 1000
        self.process.cpu += cpu_ms
        self.metering.look(self.now)

    @property
    def next_look_ms(self) -> float:
        return round((self.metering.due - self.now) * 1000, 3)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(meters, "Gauge", lambda pid: process)
    return process


@contextmanager
def bench(process: Process, limits: Limits = NO_LIMITS, *, has_family: bool = False) -> Iterator[Bench]:
    on_bench = Bench(process, limits, has_family=has_family)
    yield on_bench
    on_bench.metering.close()
    assert process.closed


async def test_time_counts_from_when_it_is_ready_and_memory_always(process: Process) -> None:
    with bench(process, Limits(cpu_hard_ms=1000, memory_mb=100)) as on:
        for _ in range(3):
            on.pass_ms(1000, cpu_ms=1000)
        assert on.worker.usage == Usage(memory_mb=40, idle_ms=pytest.approx(3000))
        process.memory = 95
        on.pass_ms(20, cpu_ms=20)
        assert [(verdict.step, verdict.used) for verdict in on.worker.verdicts] == [(Step.WARN, 95)]
        on.ready()
        on.pass_ms(100, cpu_ms=60)
        assert on.worker.usage == Usage(
            wall_ms=pytest.approx(100),
            cpu_ms=pytest.approx(60),
            memory_mb=95,
            memory_at_ready_mb=95,
            idle_ms=pytest.approx(100),
        )


async def test_what_it_did_before_it_was_ready_is_no_measure_of_it(process: Process) -> None:
    with bench(process, Limits(memory_mb=100)) as on:
        for _ in range(25):
            on.pass_ms(20, cpu_ms=20)
        assert on.metering.is_busy
        on.now += 1
        process.memory = 60
        on.ready()
        assert not on.metering.is_busy
        assert on.metering.usage == Usage(memory_mb=60, memory_at_ready_mb=60)
        on.pass_ms(20, cpu_ms=20)
        assert on.next_look_ms == LOOK_MS


async def test_one_that_is_ready_is_looked_at_soon_however_long_it_has_waited_before(process: Process) -> None:
    with bench(process) as on:
        for _ in range(8):
            on.pass_ms(on.next_look_ms)
        assert on.metering.rests
        on.ready()
        assert on.next_look_ms == LOOK_MS


async def test_no_time_counts_in_which_nobody_could_look(process: Process) -> None:
    with bench(process, Limits(wall_clock_ms=10_000, idle_timeout_ms=5_000)) as on:
        on.ready()
        on.pass_ms(1000)
        until_next_ms = on.next_look_ms
        on.pass_ms(60_000)
        assert on.worker.usage.wall_ms == pytest.approx(1000 + until_next_ms)
        assert on.worker.usage.idle_ms == pytest.approx(1000 + until_next_ms)
        on.pass_ms(1000, cpu_ms=1)
        assert on.worker.usage.wall_ms == pytest.approx(2000 + until_next_ms)


async def test_what_begins_after_that_has_not_begun_in_the_future(process: Process) -> None:
    with bench(process) as on:
        on.now += 60
        on.ready()
        on.pass_ms(5, cpu_ms=1)
        assert (on.worker.usage.wall_ms, on.worker.usage.idle_ms) == (0, 0)
        on.pass_ms(1000)
        on.now += 60
        on.metering.restart_wall_clock()
        on.pass_ms(5)
        assert on.worker.usage.wall_ms == 0
        on.pass_ms(1000, cpu_ms=1)
        assert on.worker.usage.wall_ms == pytest.approx(1000)


async def test_each_look_tells_which_limits_are_near(process: Process) -> None:
    with bench(process, Limits(wall_clock_ms=1000, cpu_soft_ms=100, cpu_hard_ms=1000, memory_mb=0)) as on:
        on.ready()
        on.pass_ms(99, cpu_ms=99)
        assert on.worker.verdicts == []
        on.pass_ms(401, cpu_ms=1)
        assert [(verdict.step, verdict.reason.value) for verdict in on.worker.verdicts] == [
            (Step.RETIRE, "wall_clock"),
            (Step.RETIRE, "cpu"),
        ]


async def test_one_that_computes_is_looked_at_as_often_as_possible(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        for _ in range(5):
            on.pass_ms(20, cpu_ms=20)
            assert on.next_look_ms == LOOK_MS
        assert not on.metering.rests


@pytest.mark.parametrize(
    ("is_working", "first", "longest"),
    [(True, 2 * LOOK_MS, LONGEST_AT_WORK_MS), (False, LONGEST_AT_WORK_MS, LONGEST_AT_REST_MS)],
)
async def test_one_that_waits_is_looked_at_less_and_less(
    process: Process, is_working: bool, first: float, longest: float
) -> None:
    with bench(process) as on:
        on.ready()
        on.worker.is_working = is_working
        intervals = []
        for _ in range(8):
            on.pass_ms(on.next_look_ms)
            intervals.append(on.next_look_ms)
        assert intervals == sorted(intervals)
        assert (intervals[0], intervals[-1]) == (first, longest)
        assert on.metering.rests
        on.metering.wake()
        assert on.next_look_ms == LOOK_MS
        assert not on.metering.rests
        on.now += LOOK_MS / 2 / 1000
        on.metering.wake()
        assert on.next_look_ms == LOOK_MS / 2
        on.pass_ms(on.next_look_ms)
        assert on.next_look_ms == 2 * LOOK_MS


@pytest.mark.parametrize(("is_working", "late_ms"), [(True, LOOK_MS), (False, LONGEST_AT_WORK_MS)])
async def test_no_limit_of_time_is_passed_unseen(process: Process, is_working: bool, late_ms: float) -> None:
    with bench(process, Limits(wall_clock_ms=10_000, cpu_soft_ms=0, cpu_hard_ms=0)) as on:
        on.ready()
        on.worker.is_working = is_working
        while on.worker.usage.wall_ms < 5000:
            on.pass_ms(on.next_look_ms)
        # A look comes right when the half is over.
        assert on.worker.usage.wall_ms == pytest.approx(5000, abs=late_ms)
        assert [verdict.step for verdict in on.worker.verdicts] == [Step.RETIRE]


async def test_memory_that_grows_is_looked_at_before_it_can_reach_the_limit(process: Process) -> None:
    with bench(process, Limits(wall_clock_ms=0, cpu_soft_ms=0, cpu_hard_ms=0, memory_mb=128)) as on:
        on.ready()
        on.worker.is_working = True
        while all(verdict.step < Step.WARN for verdict in on.worker.verdicts):
            # It computes so little that this is no reason for looking often.
            ms = on.next_look_ms
            process.memory += ms / 5
            on.pass_ms(ms, cpu_ms=ms / 40)
        assert [(verdict.step, verdict.reason.value) for verdict in on.worker.verdicts] == [(Step.WARN, "memory")]


@pytest.mark.parametrize("has_family", [False, True])
async def test_memory_is_not_read_while_the_cpu_clock_hardly_moves(process: Process, has_family: bool) -> None:
    with bench(process, has_family=has_family) as on:
        on.ready()
        on.pass_ms(1000)
        process.memory = 90
        on.pass_ms(1000)
        assert on.worker.usage.memory_mb == 40
        on.pass_ms(1000, cpu_ms=1)
        assert on.worker.usage.memory_mb == 90


async def test_memory_is_read_while_others_descend_from_the_process(process: Process) -> None:
    with bench(process, has_family=True) as on:
        on.ready()
        on.pass_ms(1000)
        process.memory, process.alone = 90, False
        on.pass_ms(1000)
        assert on.worker.usage.memory_mb == 90


@pytest.mark.parametrize("has_family", [False, True])
async def test_what_the_node_holds_of_open_tasks_counts_as_memory(process: Process, has_family: bool) -> None:
    with bench(process, Limits(memory_mb=100), has_family=has_family) as on:
        on.ready()
        for _ in range(2):
            on.worker.open_tasks = int(50 / TASK_MB)
            on.pass_ms(LOOK_MS, cpu_ms=1)
            assert [(verdict.step, verdict.used) for verdict in on.worker.verdicts] == [(Step.WARN, 90)]
            # What the process itself has is not read again.
            on.worker.open_tasks *= 2
            until = on.now + meters.LONGEST_UNWEIGHED_MS / 1000
            while on.now < until:
                on.pass_ms(on.next_look_ms)
            assert [(verdict.step, verdict.used) for verdict in on.worker.verdicts] == [(Step.KILL, 140)]


async def test_a_request_ends_idleness_and_wall_clocks_can_start_anew(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        on.pass_ms(1000)
        assert on.worker.usage.idle_ms == pytest.approx(1000)
        # Although it was over before the next look.
        on.worker.requests_begun += 1
        on.pass_ms(300)
        assert on.worker.usage.idle_ms == 0
        on.worker.requests = 1
        on.pass_ms(300)
        assert on.worker.usage.idle_ms == 0
        on.worker.requests = 0
        on.metering.restart_wall_clock()
        on.pass_ms(200)
        assert on.worker.usage.idle_ms == pytest.approx(200)
        assert on.worker.usage.wall_ms == pytest.approx(200)


async def test_what_children_use_counts_where_there_can_be_any(process: Process) -> None:
    for has_family, expected in ((True, (100, 70)), (False, (40, 40))):
        process.cpu, process.children = 50.0, (10.0, 0.0)
        with bench(process, has_family=has_family) as on:
            on.ready()
            process.children = (70.0, 30.0)
            on.pass_ms(100, cpu_ms=40)
            assert (on.worker.usage.cpu_ms, on.worker.usage.memory_mb) == pytest.approx(expected)


async def test_a_busy_event_loop_is_one_that_has_been_so_for_a_while(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        on.pass_ms(20, cpu_ms=20)
        assert not on.metering.is_busy
        for _ in range(25):
            on.pass_ms(20, cpu_ms=20)
        assert on.metering.is_busy
        for _ in range(25):
            on.pass_ms(20, cpu_ms=12)
        assert not on.metering.is_busy
        for _ in range(25):
            on.pass_ms(20, cpu_ms=20)
        assert on.metering.is_busy
        for _ in range(10):
            on.pass_ms(20, cpu_ms=2)
        assert not on.metering.is_busy


async def test_a_busy_event_loop_that_does_nothing_any_more_is_seen_to_have_time(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        for _ in range(25):
            on.worker.signs_of_life += 1
            on.pass_ms(20, cpu_ms=20)
        assert on.metering.is_busy
        for _ in range(2):
            on.pass_ms(LONGEST_AT_WORK_MS)
        assert not on.metering.is_busy


async def test_it_is_quick_with_what_it_has_been_given_in_a_few_milliseconds_of_late(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        on.worker.requests_begun += 200
        on.pass_ms(20, cpu_ms=10)
        assert on.metering.quick == 200 * QUICK_MS / 20
        on.worker.requests_begun += 1
        on.pass_ms(20, cpu_ms=10)
        assert on.metering.quick == 0
        on.worker.requests_begun += 200
        on.pass_ms(20, cpu_ms=10)
        on.pass_ms(20)
        assert on.metering.quick == 0


class TestHeldUp:
    async def test_by_code_that_computes_without_a_sign_of_life(self, process: Process) -> None:
        with bench(process) as on:
            on.ready()
            for _ in range(2):
                on.pass_ms(20, cpu_ms=20)
            assert on.worker.is_held_up == []
            for _ in range(3):
                on.pass_ms(20, cpu_ms=20)
            assert on.worker.is_held_up == [True]
            on.worker.signs_of_life += 1
            on.pass_ms(20, cpu_ms=20)
            assert on.worker.is_held_up == [True, False]

    async def test_until_it_does_nothing_any_more(self, process: Process) -> None:
        with bench(process) as on:
            on.ready()
            for _ in range(5):
                on.pass_ms(20, cpu_ms=20)
            assert on.worker.is_held_up == [True]
            on.pass_ms(20)
            assert on.worker.is_held_up == [True, False]

    async def test_not_by_much_work_in_small_pieces(self, process: Process) -> None:
        with bench(process) as on:
            on.ready()
            for _ in range(10):
                on.worker.signs_of_life += 1
                on.pass_ms(20, cpu_ms=20)
            assert on.worker.is_held_up == []

    async def test_not_by_waiting(self, process: Process) -> None:
        with bench(process) as on:
            on.ready()
            for _ in range(10):
                on.pass_ms(20)
            assert on.worker.is_held_up == []


async def test_one_look_serves_several_questions_within_a_millisecond(process: Process) -> None:
    with bench(process) as on:
        process.running = True
        assert [on.metering.is_running() for _ in range(3)] == [True] * 3
        assert process.looks == 1
        process.running = False
        on.now += 0.002
        assert not on.metering.is_running()


class TestTheClock:
    """By which a meter looks at workers."""

    @pytest.fixture(autouse=True)
    def no_end_of_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for longest in ("LONGEST_AT_REST_MS", "LONGEST_AT_WORK_MS"):
            monkeypatch.setattr(meters, longest, 600_000)

    async def test_one_at_rest_is_left_alone_and_the_others_are_looked_at_all_the_same(self, process: Process) -> None:
        meter, resting, booting = Meter(), Worker(), Worker()
        first = Metering(meter, resting, resting, 1, NO_LIMITS, has_family=False)
        first.ready()
        await resting.is_measured()
        assert first.rests
        second = Metering(meter, booting, booting, 2, NO_LIMITS, has_family=False)
        for _ in range(3):
            process.cpu += 10
            await booting.is_measured()
        assert not resting.looked_at.is_set()
        first.close()
        second.close()

    async def test_one_that_is_woken_is_looked_at_before_its_time(self, process: Process) -> None:
        meter, worker = Meter(), Worker()
        metering = Metering(meter, worker, worker, 1, NO_LIMITS, has_family=False)
        metering.ready()
        await worker.is_measured()
        assert metering.rests
        # It has computed a little.
        process.cpu += 1
        metering.wake()
        await worker.is_measured()
        metering.close()


async def test_one_that_is_closed_is_not_looked_at_any_more(process: Process) -> None:
    meter, worker = Meter(), Worker()
    metering = Metering(meter, worker, worker, 1, NO_LIMITS, has_family=False)
    metering.close()
    assert not meter._metered
    meter._look()
    assert (worker.usage, meter._timer) == (Usage(), None)


async def test_one_that_is_woken_is_not_looked_at_later_than_others(process: Process) -> None:
    with bench(process) as on:
        on.ready()
        for _ in range(10):
            on.pass_ms(LONGEST_AT_REST_MS)
        assert on.metering.may_be_early_at < on.metering.due
        on.metering.wake()
        # Were it later, the meter would look for it again and again until then.
        assert on.metering.may_be_early_at <= on.metering.due == pytest.approx(on.now + LOOK_MS / 1000)
