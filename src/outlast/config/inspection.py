"""Debuggers of TypeScript functions: who listens for one, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from outlast.core.language import Language

if TYPE_CHECKING:
    from outlast.config.settings import FunctionSettings

HIGHEST_PORT = 65_535


class InspectMode(StrEnum):
    """``--inspect-mode``: what a worker does before it evaluates the function's code."""

    RUN = "run"
    """It does not wait for a debugger."""
    WAIT = "wait"
    """It waits until a debugger is attached, which can set breakpoints first."""


@dataclass(frozen=True)
class Inspector:
    """For the single worker of one function."""

    mode: InspectMode
    port: int


def inspected(
    functions: Mapping[str, "FunctionSettings"], mode: InspectMode, first_port: int
) -> dict[str, "FunctionSettings"]:
    """Gives each TypeScript function a port, in the order of their names from ``first_port`` on.

    Such a function has a single worker, so that the one with the debugger gets all requests, and none of the limits
    that would end a worker while somebody looks at it.
    """
    names = sorted(name for name, function in functions.items() if function.language is Language.TYPESCRIPT)
    ports = dict(zip(names, range(first_port, HIGHEST_PORT + 1), strict=False))
    return {name: _inspected(function, mode, ports.get(name)) for name, function in functions.items()}


def _inspected(function: "FunctionSettings", mode: InspectMode, port: int | None) -> "FunctionSettings":
    if port is None:
        return function
    unlimited = replace(
        function.limits,
        wall_clock_ms=0,
        cpu_soft_ms=0,
        cpu_hard_ms=0,
        request_idle_ms=0,
        idle_timeout_ms=0,
        boot_timeout_ms=0,
    )
    single = replace(function.scale, max_workers=1, standby=0)
    return replace(function, inspector=Inspector(mode, port), limits=unlimited, scale=single)
