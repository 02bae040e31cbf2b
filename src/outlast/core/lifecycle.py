"""A worker's life as a table: in this state, on this event, go to that state and do this.

    starting -> standby -> booting -> ready -> retired -> unloading -> exited

Nothing here does anything: `outlast.supervisor.lifecycle` carries the actions out and reports what happens as events.
"""

from enum import StrEnum

from outlast.core.errors import OutlastError


class State(StrEnum):
    STARTING = "starting"
    """The process has been asked for; it has not opened its control channel yet."""
    STANDBY = "standby"
    """Started, with no code of the function evaluated."""
    BOOTING = "booting"
    """Evaluating the function's code."""
    READY = "ready"
    """Gets requests."""
    RETIRED = "retired"
    """Gets no new requests, and finishes what it has."""
    UNLOADING = "unloading"
    """Being told, or made, to end."""
    EXITED = "exited"


COMING_UP = frozenset({State.STARTING, State.STANDBY, State.BOOTING})
"""On the way to being ready."""


class Event(StrEnum):
    CONNECTED = "connected"
    """The worker opened its control channel."""
    ACTIVATED = "activated"
    """Its pool wants it to serve."""
    SERVING = "serving"
    """It says that its code has been evaluated."""
    RETIRE = "retire"
    """It must get no new requests."""
    DRAINED = "drained"
    """It has finished everything that it must finish."""
    UNLOADED = "unloaded"
    """Its `beforeunload` listeners are done, or their grace is over."""
    KILL = "kill"
    """It must end now."""
    EXITED = "exited"
    """The process is gone."""


class Action(StrEnum):
    BOOT = "boot"
    """Tell it to evaluate the function's code."""
    ADMIT = "admit"
    """Give it requests from now on."""
    BAR = "bar"
    """Give it no more requests."""
    UNLOAD = "unload"
    """Tell it to dispatch `beforeunload`, and wait for `UNLOADED`."""
    EXIT = "exit"
    """Tell it to end, and wait for `EXITED`."""
    KILL = "kill"
    """End the process."""
    BURY = "bury"
    """Record what it left unfinished, and clean up after it."""


class IllegalTransition(OutlastError):
    """This event cannot happen in this state: the supervisor has a bug."""


Step = tuple[State, tuple[Action, ...]]

TRANSITIONS: dict[tuple[State, Event], Step] = {
    (State.STARTING, Event.CONNECTED): (State.STANDBY, ()),
    (State.STARTING, Event.RETIRE): (State.UNLOADING, (Action.KILL,)),
    (State.STANDBY, Event.ACTIVATED): (State.BOOTING, (Action.BOOT,)),
    (State.STANDBY, Event.RETIRE): (State.UNLOADING, (Action.EXIT,)),
    (State.BOOTING, Event.SERVING): (State.READY, (Action.ADMIT,)),
    (State.READY, Event.RETIRE): (State.RETIRED, (Action.BAR,)),
    # A second cause to retire changes nothing for the worker.
    (State.RETIRED, Event.RETIRE): (State.RETIRED, ()),
    (State.RETIRED, Event.DRAINED): (State.UNLOADING, (Action.UNLOAD,)),
    (State.UNLOADING, Event.UNLOADED): (State.UNLOADING, (Action.EXIT,)),
    **{
        (state, Event.KILL): (State.UNLOADING, (Action.BAR, Action.KILL))
        for state in State
        if state is not State.EXITED
    },
    **{
        (state, Event.EXITED): (State.EXITED, (Action.BAR, Action.BURY)) for state in State if state is not State.EXITED
    },
}


def step(state: State, event: Event) -> Step:
    """The next state and what to do on the way. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a worker that is {state} cannot be told {event}") from None


def is_drained(*, requests: int, open_tasks: int, cuts_tasks: bool) -> bool:
    """Whether a retired worker has nothing left that it must finish."""
    return requests == 0 and (cuts_tasks or open_tasks == 0)
