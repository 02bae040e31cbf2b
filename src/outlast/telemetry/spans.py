"""A span for every request and for every background task, with the names of OpenTelemetry's semantic conventions.

A task is part of its request's trace: the request's span is its parent, so that one sampling decision covers both. The
span is also linked, which says that the request started the task but did not wait for it.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from outlast.core.outcome import TaskOutcome
from outlast.core.records import TaskRecord
from outlast.telemetry import raised
from outlast.telemetry.collector import Collector
from outlast.wire import http1
from outlast.wire.tracing import RequestEnding

MAX_CHARS = 2_000
"""Of what a client chooses."""
KEPT_REQUESTS = 10_000
"""How many requests are remembered after they and their tasks have ended, because they can still start tasks."""
_METHODS = frozenset(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"])
_NOTHING = Context()

_propagator = TraceContextTextMapPropagator()


class RequestSpan:
    """Implements `outlast.wire.tracing.Trace`."""

    __slots__ = (
        "_begun_ns",
        "_is_first",
        "_requests",
        "_span",
        "_wait_ms",
        "context",
        "function",
        "holders",
        "id",
        "own",
    )

    def __init__(self, request_id: str, function: str, span: Span, begun_ns: int, requests: "_Requests") -> None:
        self.id = request_id
        self.function = function
        self.own: SpanContext = span.get_span_context()
        self.context = _fields(span)
        self.holders = 1
        """Counts the request itself while it is open, and each of its open tasks."""
        self._span = span
        self._begun_ns = begun_ns
        self._requests = requests
        self._is_first = False
        self._wait_ms = 0.0

    def waited(self, *, is_first: bool) -> None:
        self._is_first = is_first
        self._wait_ms = (time.time_ns() - self._begun_ns) / 1e6

    def end(self, ending: RequestEnding) -> None:
        self._requests.release(self)
        span = self._span
        if not span.is_recording():
            return
        attributes: dict[str, AttributeValue] = {
            "http.response.status_code": ending.status,
            "faas.instance": ending.execution_id,
            "outlast.execution_id": ending.execution_id,
            "outlast.wait_ms": self._wait_ms,
            "outlast.refused": ending.refused,
            "outlast.reason": ending.reason,
        }
        if ending.execution_id:
            span.set_attribute("faas.coldstart", self._is_first)
        failure = ending.failure
        if failure is not None:
            attributes["outlast.failure"] = failure.code
            if failure.status >= 500:
                attributes["error.type"] = failure.code
                span.set_status(StatusCode.ERROR, failure.message)
        elif ending.is_cut:
            attributes["outlast.client_left"] = True
        elif ending.status >= 500:
            attributes["error.type"] = str(ending.status)
            span.set_status(StatusCode.ERROR)
        span.set_attributes({name: value for name, value in attributes.items() if value})
        span.end(self._begun_ns + int(ending.ms * 1e6))


class _Requests:
    """The requests that a task may belong to."""

    def __init__(self) -> None:
        self._held: dict[str, RequestSpan] = {}
        self._recent: OrderedDict[str, RequestSpan] = OrderedDict()
        """Requests without holders."""

    def add(self, request: RequestSpan) -> None:
        self._held[request.id] = request

    def hold(self, request_id: str, function: str) -> RequestSpan | None:
        """None for an unknown request or one to another function, since workers are not trusted."""
        request = self._held.get(request_id) or self._recent.get(request_id)
        if request is None or request.function != function:
            return None
        if not request.holders:
            self._held[request_id] = self._recent.pop(request_id)
        request.holders += 1
        return request

    def release(self, request: RequestSpan) -> None:
        request.holders -= 1
        if not request.holders:
            self._recent[request.id] = self._held.pop(request.id)
            if len(self._recent) > KEPT_REQUESTS:
                self._recent.popitem(last=False)


class Tracing:
    """Implements `outlast.wire.tracing.Tracer`, and `outlast.supervisor.register.Observer` for tasks."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._start = collector.tracer.start_span
        self._requests = _Requests()
        self._tasks: dict[str, tuple[Span, RequestSpan | None]] = {}
        """The spans of open tasks, by the tasks' ids."""

    def begin(
        self, request_id: str, head: http1.RequestHead, *, function: str, route: str, scheme: str, client: str
    ) -> RequestSpan:
        begun_ns = time.time_ns()
        method = head.method.decode("latin-1")
        known = method in _METHODS
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method if known else "_OTHER",
            "url.scheme": scheme,
            "url.path": head.path.decode("latin-1")[:MAX_CHARS],
            "network.protocol.version": f"1.{head.minor_version}",
            "client.address": client,
            "outlast.request_id": request_id,
            **_server(head.host),
        }
        if not known:
            attributes["http.request.method_original"] = method[:MAX_CHARS]
        if agents := http1.values(head.fields, b"user-agent"):
            attributes["user_agent.original"] = agents[0].decode("latin-1")[:MAX_CHARS]
        if function:
            attributes |= {
                "http.route": route,
                "faas.name": function,
                "faas.trigger": "http",
                "faas.invocation_id": request_id,
            }
        span = self._start(
            f"{method if known else 'HTTP'} {route}".rstrip(),
            _caller(head.fields),
            SpanKind.SERVER,
            attributes,
            start_time=begun_ns,
        )
        request = RequestSpan(request_id, function, span, begun_ns, self._requests)
        self._requests.add(request)
        return request

    def task_started(self, record: TaskRecord) -> None:
        attributes: dict[str, AttributeValue] = {
            "faas.name": record.function,
            "faas.instance": record.execution_id,
            "outlast.execution_id": record.execution_id,
            "outlast.task_id": record.id,
        }
        if record.name is not None:
            attributes["outlast.task.name"] = record.name
        request = None
        if record.request_id is not None:
            attributes["outlast.request_id"] = record.request_id
            request = self._requests.hold(record.request_id, record.function)
        span = self._start(
            f"task {record.name}" if record.name is not None else "task",
            set_span_in_context(NonRecordingSpan(request.own), _NOTHING) if request is not None else _NOTHING,
            SpanKind.INTERNAL,
            attributes,
            [Link(request.own)] if request is not None else None,
        )
        self._tasks[record.id] = span, request

    def tasks_settled(self, records: Sequence[TaskRecord]) -> None:
        for record in records:
            self._task_settled(record)

    def _task_settled(self, record: TaskRecord) -> None:
        span, request = self._tasks.pop(record.id)
        if request is not None:
            self._requests.release(request)
        if not span.is_recording() or record.outcome is None:
            return
        span.set_attribute("outlast.task.outcome", record.outcome)
        if record.reason is not None:
            span.set_attribute("outlast.task.reason", record.reason)
        if record.outcome is not TaskOutcome.FULFILLED:
            error_type, message = record.reason or record.outcome.value, record.reason.words if record.reason else ""
            if record.error:
                exception = raised.read(record.language, record.error)
                span.add_event("exception", exception.attributes)
                if record.outcome is TaskOutcome.REJECTED:
                    error_type, message = exception.type or error_type, exception.message
            span.set_attribute("error.type", error_type)
            span.set_status(StatusCode.ERROR, message or None)
        span.end()

    async def close(self) -> None:
        """Sends the spans that have ended. Nothing may be begun afterwards."""
        await self._collector.close()


def _caller(fields: http1.Fields) -> Context:
    """The trace context that the caller sent."""
    given = http1.values(fields, b"traceparent")
    if len(given) != 1:
        return _NOTHING
    carrier = {
        "traceparent": [given[0].decode("latin-1")],
        "tracestate": [value.decode("latin-1") for value in http1.values(fields, b"tracestate")],
    }
    return _propagator.extract(carrier, _NOTHING)


def _fields(span: Span) -> bytes:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span, _NOTHING))
    return "".join(f"{name}: {value}\r\n" for name, value in carrier.items()).encode("latin-1")


def _server(host: bytes) -> dict[str, AttributeValue]:
    try:
        parts = urlsplit(f"//{host.decode('latin-1')}")
        address, port = parts.hostname, parts.port
    except ValueError:
        return {}
    return {"server.address": (address or "")[:MAX_CHARS], **({"server.port": port} if port is not None else {})}
