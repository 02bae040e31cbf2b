"""The process that Python workers are forked from: `outlast.engines.spawner` with the libraries loaded.

It has one thread and no event loop, opens nothing, and runs no code of any function, so that a copy of it is as good
as a process that has just loaded the same. All copies share the hash seed of their zygote; the generators of
`random` start anew in each.
"""

import gc
import importlib
import importlib.metadata
import os
import re
import signal
import sys

import outlast
from outlast.engines import spawner

PRELOADED = (
    "anyio._backends._asyncio",  # what a function that is not async runs by
    "asyncio",
    "concurrent.futures.thread",
    "contextlib",
    "dataclasses",
    "datetime",
    "email.message",
    "hashlib",
    "http.client",
    "json",
    "logging",
    "pwd",
    "ssl",
    "traceback",
    "typing",
    "urllib.request",
    "uuid",
    "uvloop",
    "uvicorn",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.httptools_impl",
    "starlette.applications",
    "starlette.background",
    "starlette.requests",
    "starlette.responses",
    "starlette.routing",
    "starlette.websockets",
    "outlast.engines.python.guest",
    "outlast.engines.python.memory",
    "outlast.engines.python.rehearsal",
    "outlast.engines.python.start",
    "outlast.engines.python.websockets",
)

_OF_NO_CONSEQUENCE = {"outlast", "_distutils_hack"}
"""The one is replaced by no environment. The other is loaded by a file of setuptools whenever Python starts."""


def main() -> None:
    # What lives until the fork is not to be looked at again: a look writes to its pages, and copies them.
    gc.disable()
    for name in PRELOADED:
        importlib.import_module(name)
    # The public names of Outlast are looked up as they are used, and each brings its modules.
    for name in outlast.__all__:
        getattr(outlast, name)
    from outlast.engines.python import output, rehearsal

    output.prepare_logging()
    versions = _versions()
    gc.collect()
    gc.freeze()
    request = spawner.serve({"versions": versions}, rehearsal.rehearse_alone)
    if request is None:
        return
    spawner.wall_in(request)
    gc.enable()
    # Python's own choice, which the starting of other programs has no use for.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    from outlast.engines.python import start

    start.run(request["fork"])


def _versions() -> dict[str, str]:
    """Of the distributions that any loaded module is from, by canonical name."""
    loaded = {name.partition(".")[0] for name in sys.modules} - _OF_NO_CONSEQUENCE
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if not loaded.isdisjoint(_modules(distribution)):
            found[re.sub(r"[-_.]+", "-", distribution.name).lower()] = distribution.version
    return found


def _modules(distribution: importlib.metadata.Distribution) -> set[str]:
    """What can be imported of it.

    ``importlib.metadata.packages_distributions`` tells the same of all that is installed, and takes half as long for it
    as the libraries take to load, where much is installed: it takes each file's path apart.
    """
    if declared := distribution.read_text("top_level.txt"):
        return {*declared.split()}
    record = distribution.read_text("RECORD")
    files = record.splitlines() if record is not None else map(str, distribution.files or ())
    return {line.partition("/")[0].partition(".")[0] for line in files}
