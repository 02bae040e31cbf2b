"""The pytest plugin for testing functions: see docs/testing.md. The names here are for type annotations."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.core.records import TaskRecord
    from outlast.testing.answers import Answer, LogLine
    from outlast.testing.asynchronous import Outlast, Response
    from outlast.testing.errors import Failure, NotSettled
    from outlast.testing.server import Server
    from outlast.testing.synchronous import SyncOutlast, SyncResponse

__all__ = [
    "Answer",
    "Failure",
    "LogLine",
    "NotSettled",
    "Outlast",
    "Response",
    "Server",
    "SyncOutlast",
    "SyncResponse",
    "TaskRecord",
]

_HOMES = {
    "outlast.core.records": ("TaskRecord",),
    "outlast.testing.answers": ("Answer", "LogLine"),
    "outlast.testing.asynchronous": ("Outlast", "Response"),
    "outlast.testing.errors": ("Failure", "NotSettled"),
    "outlast.testing.server": ("Server",),
    "outlast.testing.synchronous": ("SyncOutlast", "SyncResponse"),
}


if not TYPE_CHECKING:
    # Type checkers would take it to know every name, misspelt ones too.

    def __getattr__(name: str) -> object:
        """Imports a name on first use: pytest loads this package at every start, whether or not it is used."""
        for module, names in _HOMES.items():
            if name in names:
                import importlib

                value = globals()[name] = getattr(importlib.import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
