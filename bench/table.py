"""All works, in the order in which they are done and shown."""

from bench.work import Effort, Work
from bench.works import (
    background,
    endurance,
    expiries,
    first_byte,
    idle,
    latency,
    many_functions,
    memory,
    metering,
    streaming,
    throughput,
    wait_until,
)

WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        throughput.TYPESCRIPT,
        throughput.PYTHON,
        latency.TYPESCRIPT,
        latency.PYTHON,
        background.TYPESCRIPT,
        background.PYTHON,
        first_byte.WORK,
        wait_until.WORK,
        memory.WORK,
        many_functions.WORK,
        endurance.WORK,
        streaming.WORK,
        idle.WORK,
        metering.WORK,
        expiries.WORK,
    )
}


def chosen(names: list[str], effort: Effort) -> list[Work]:
    """``throughput`` stands for all works whose names begin with it. Raises KeyError with the first unknown name."""
    if not names:
        return [work for work in WORKS.values() if work.in_quick or effort is not Effort.QUICK]
    for name in names:
        if not any(_stands_for(name, work) for work in WORKS.values()):
            raise KeyError(name)
    return [work for work in WORKS.values() if any(_stands_for(name, work) for name in names)]


def _stands_for(name: str, work: Work) -> bool:
    return work.name == name or work.name.startswith(f"{name}-")
