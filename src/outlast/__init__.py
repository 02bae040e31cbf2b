"""The names that a Python function imports:

from outlast import EdgeRuntime, Request, Response, add_event_listener, serve
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.runtime.edge_runtime import EdgeRuntime, add_event_listener, remove_event_listener
    from outlast.runtime.events import BeforeUnloadEvent, ErrorEvent, Event, UnhandledRejectionEvent
    from outlast.runtime.requests import ClientDisconnect, Request
    from outlast.runtime.responses import Response
    from outlast.runtime.serving import serve

__all__ = [
    "BeforeUnloadEvent",
    "ClientDisconnect",
    "EdgeRuntime",
    "ErrorEvent",
    "Event",
    "Request",
    "Response",
    "UnhandledRejectionEvent",
    "add_event_listener",
    "remove_event_listener",
    "serve",
]

_HOMES = {
    "edge_runtime": ("EdgeRuntime", "add_event_listener", "remove_event_listener"),
    "events": ("BeforeUnloadEvent", "ErrorEvent", "Event", "UnhandledRejectionEvent"),
    "requests": ("ClientDisconnect", "Request"),
    "responses": ("Response",),
    "serving": ("serve",),
}


if not TYPE_CHECKING:
    # Type checkers would take it to know every name, misspelt ones too.

    def __getattr__(name: str) -> object:
        """Imports a name on first use: the node and the command line share this package, and need none of them."""
        for module, names in _HOMES.items():
            if name in names:
                import importlib

                value = globals()[name] = getattr(importlib.import_module(f"outlast.runtime.{module}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
