"""The request that the running code belongs to, in its handler and in everything that the handler has started."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("outlast_request_id", default="")
"""Empty outside of requests."""
