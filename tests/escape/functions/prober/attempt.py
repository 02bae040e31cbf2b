"""What a probe is: a function that says how far it came, or raises what stopped it."""

import errno
import json
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace

Land = SimpleNamespace
"""The places and processes that there are to try: what `tests.escape.land.Land` holds."""

Probe = Callable[[Land], str]
Answer = dict[str, object]

PROBES: dict[str, Probe] = {}
IN_A_CHILD: set[Probe] = set()
PATIENCE_S = 10


class Foiled(Exception):
    """It was stopped otherwise than by an error; the text says what was seen."""


def probe(function: Probe) -> Probe:
    PROBES[function.__name__.replace("_", "-")] = function
    return function


def probe_in_a_child(function: Probe) -> Probe:
    """For what would change this process. The child is this worker's, and within the same walls."""
    IN_A_CHILD.add(function)
    return probe(function)


def make(function: Probe, land: Land) -> Answer:
    return _forked(function, land) if function in IN_A_CHILD else _made(function, land)


def _made(function: Probe, land: Land) -> Answer:
    try:
        return {"escaped": True, "detail": function(land)}
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "")
        return {"escaped": False, "detail": f"{type(error).__name__}: {code}: {error}"}
    except Exception as error:
        return {"escaped": False, "detail": f"{type(error).__name__}: {error}"}


def _forked(function: Probe, land: Land) -> Answer:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        signal.alarm(PATIENCE_S)
        os.write(writing, json.dumps(_made(function, land)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if said:
        answer: Answer = json.loads(said)
        return answer
    return {"escaped": False, "detail": f"Ended: {signal.Signals(-os.waitstatus_to_exitcode(status)).name}"}
