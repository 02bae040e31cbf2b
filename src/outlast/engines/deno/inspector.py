"""The debugger's end of a worker: V8's inspector, which listens on a port of its own."""

import asyncio

from outlast.config.address import HOST, is_free
from outlast.config.inspection import InspectMode, Inspector
from outlast.core.errors import OutlastError

PATIENCE_S = 10.0
"""How long a worker's predecessor has to give up the port: as long as a request waits for a worker."""
_LOOK_EVERY_S = 0.02
# Not --inspect-brk: with a module that is loaded before, Deno never gets to the function's.
_FLAGS = {InspectMode.RUN: "--inspect", InspectMode.WAIT: "--inspect-wait"}


class PortTaken(OutlastError):
    """A debugger's port belongs to somebody else."""


def flag(inspector: Inspector) -> str:
    """For ``deno run``."""
    return f"{_FLAGS[inspector.mode]}={address(inspector)}"


def address(inspector: Inspector) -> str:
    return f"{HOST}:{inspector.port}"


async def wait_until_free(port: int) -> None:
    """Waits for the end of the worker before, which still listens when its successor is started. Raises PortTaken."""
    for _ in range(round(PATIENCE_S / _LOOK_EVERY_S)):
        if is_free(port):
            return
        # The kernel tells nobody when a port becomes free.
        await asyncio.sleep(_LOOK_EVERY_S)
    raise PortTaken(
        f"{HOST}:{port}, where its debugger is to listen, is taken: by a worker that has work left, or by another "
        "program; to use other ports: [edge_runtime] inspector_port in config.toml"
    )
