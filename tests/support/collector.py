"""A collector of traces as OpenTelemetry has them: OTLP over HTTP, with protobuf."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

KINDS = {SentSpan.SPAN_KIND_SERVER: "server", SentSpan.SPAN_KIND_INTERNAL: "internal"}
STATUSES = {0: "unset", 1: "ok", 2: "error"}


@dataclass
class Span:
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    """Trace and span of each."""
    events: dict[str, dict[str, Any]]
    """Their attributes by their names."""
    status: str
    description: str
    resource: dict[str, Any] = field(repr=False)


class Collector:
    """``spans`` holds all that were sent so far."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.status = 200
        """Of its answers; with another one it takes nothing."""
        self.refused = 0
        """So many times."""
        self._news = asyncio.Condition()

    @property
    def environ(self) -> dict[str, str]:
        """For a server that is to send its spans here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50", "NO_PROXY": "127.0.0.1"}

    def found(self, name: str | None = None, **attributes: object) -> list[Span]:
        """Those that have this name and these attributes, dots written as two underscores."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [span for span in self.spans if name in (None, span.name) and wanted.items() <= span.attributes.items()]

    async def wait_for(self, name: str | None = None, **attributes: object) -> Span:
        async with self._news:
            try:
                async with asyncio.timeout(20):
                    await self._news.wait_for(lambda: self.found(name, **attributes))
            except TimeoutError:
                raise AssertionError(f"no span {name} {attributes} among {self.spans}") from None
        return self.found(name, **attributes)[0]

    async def wait_for_refused(self, count: int) -> None:
        async with self._news, asyncio.timeout(20):
            await self._news.wait_for(lambda: self.refused >= count)

    async def of_request(self, request_id: str) -> Span:
        await self.wait_for(outlast__request_id=request_id, faas__trigger="http")
        (span,) = self.found(outlast__request_id=request_id, faas__trigger="http")
        return span

    async def take(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/x-protobuf"
        sent = ExportTraceServiceRequest.FromString(await request.body())
        async with self._news:
            if self.status != 200:
                self.refused += 1
                self._news.notify_all()
                return Response(b"", self.status)
            for of_resource in sent.resource_spans:
                resource = _plain(of_resource.resource.attributes)
                for scope in of_resource.scope_spans:
                    assert scope.scope.name == "outlast"
                    self.spans += [_span(span, resource) for span in scope.spans]
            self._news.notify_all()
        return Response(b"", media_type="application/x-protobuf")


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}


def _span(sent: SentSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=sent.name,
        kind=KINDS[sent.kind],
        trace_id=sent.trace_id.hex(),
        span_id=sent.span_id.hex(),
        parent_id=sent.parent_span_id.hex(),
        state=sent.trace_state,
        started_ns=sent.start_time_unix_nano,
        ended_ns=sent.end_time_unix_nano,
        attributes=_plain(sent.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in sent.links],
        events={event.name: _plain(event.attributes) for event in sent.events},
        status=STATUSES[sent.status.code],
        description=sent.status.message,
        resource=resource,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Those of the tests are pytest's business."""
        yield


def free_port() -> int:
    """One that nobody listens on, for a collector that is not there yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    listening = socket.create_server(("127.0.0.1", port))
    collector = Collector(listening.getsockname()[1])
    app = Starlette(routes=[Route("/v1/traces", collector.take, methods=["POST"])])
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=5))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield collector
    finally:
        server.should_exit = True
        await serving
