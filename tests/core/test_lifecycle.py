"""The table of a worker's life: each legal step, and every other one."""

import itertools

import pytest

from outlast.core import lifecycle
from outlast.core.lifecycle import Action, Event, State

UP = (State.STARTING, State.STANDBY, State.BOOTING, State.READY, State.RETIRED, State.UNLOADING)

LEGAL = {
    (State.STARTING, Event.CONNECTED): (State.STANDBY, ()),
    (State.STARTING, Event.RETIRE): (State.UNLOADING, (Action.KILL,)),
    (State.STANDBY, Event.ACTIVATED): (State.BOOTING, (Action.BOOT,)),
    (State.STANDBY, Event.RETIRE): (State.UNLOADING, (Action.EXIT,)),
    (State.BOOTING, Event.SERVING): (State.READY, (Action.ADMIT,)),
    (State.READY, Event.RETIRE): (State.RETIRED, (Action.BAR,)),
    (State.RETIRED, Event.RETIRE): (State.RETIRED, ()),
    (State.RETIRED, Event.DRAINED): (State.UNLOADING, (Action.UNLOAD,)),
    (State.UNLOADING, Event.UNLOADED): (State.UNLOADING, (Action.EXIT,)),
    **{(state, Event.KILL): (State.UNLOADING, (Action.BAR, Action.KILL)) for state in UP},
    **{(state, Event.EXITED): (State.EXITED, (Action.BAR, Action.BURY)) for state in UP},
}
ILLEGAL = [step for step in itertools.product(State, Event) if step not in LEGAL]


@pytest.mark.parametrize(("state", "event"), LEGAL, ids=" ".join)
def test_legal(state: State, event: Event) -> None:
    assert lifecycle.step(state, event) == LEGAL[state, event]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=" ".join)
def test_illegal(state: State, event: Event) -> None:
    with pytest.raises(lifecycle.IllegalTransition, match=f"{state}.*{event}"):
        lifecycle.step(state, event)


def test_every_step_is_one_or_the_other() -> None:
    assert len(LEGAL) + len(ILLEGAL) == len(State) * len(Event)


def test_a_whole_life() -> None:
    state = State.STARTING
    done: list[Action] = []
    for event in (
        Event.CONNECTED,
        Event.ACTIVATED,
        Event.SERVING,
        Event.RETIRE,
        Event.DRAINED,
        Event.UNLOADED,
        Event.EXITED,
    ):
        state, actions = lifecycle.step(state, event)
        done += actions
    assert state is State.EXITED
    assert done == [Action.BOOT, Action.ADMIT, Action.BAR, Action.UNLOAD, Action.EXIT, Action.BAR, Action.BURY]


def test_every_life_ends_in_a_burial_that_happens_once() -> None:
    """Whatever way is taken through the table."""
    ways = [(State.STARTING, frozenset[State](), 0)]
    while ways:
        state, been, burials = ways.pop()
        if state is State.EXITED:
            assert burials == 1
            continue
        for event in Event:
            if (state, event) in LEGAL:
                following, actions = lifecycle.step(state, event)
                if following not in been:
                    ways.append((following, been | {state}, burials + actions.count(Action.BURY)))


@pytest.mark.parametrize("state", UP)
def test_a_worker_that_is_gone_gets_no_request(state: State) -> None:
    assert lifecycle.step(state, Event.EXITED)[1][0] is Action.BAR
    assert lifecycle.step(state, Event.KILL)[1][0] is Action.BAR


@pytest.mark.parametrize(
    ("requests", "open_tasks", "cuts_tasks", "drained"),
    [
        (0, 0, False, True),
        (1, 0, False, False),
        (0, 1, False, False),
        (0, 1, True, True),
        (1, 1, True, False),
    ],
)
def test_drained(requests: int, open_tasks: int, cuts_tasks: bool, drained: bool) -> None:
    assert lifecycle.is_drained(requests=requests, open_tasks=open_tasks, cuts_tasks=cuts_tasks) is drained
